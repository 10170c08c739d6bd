"""The agent's command line: what the client's one `exec` runs on a worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.agent.control import Timing

_USAGE = "usage: session | follow JOB ATTEMPT OFFSET | stop JOB ATTEMPT REASON"


def main(argv: Sequence[str], timing: Timing | None = None) -> int:
    """One mode; its exit status. Frames go to standard output, words to standard error."""
    os.umask(0o077)
    mode, *rest = argv or [""]
    if mode == "run" and len(rest) == 1:  # what a supervisor starts
        from launcher.agent import runner  # needs cloudpickle: only in the job's own environment

        os.umask(0o022)  # the user's files are as everywhere else
        runner.main(int(rest[0]))
    from launcher.agent import front, session

    try:
        if mode == "session" and not rest:
            return session.run(timing)
        if mode == "follow" and len(rest) == 3:
            return front.follow(rest[0], int(rest[1]), int(rest[2]))
        if mode == "stop" and len(rest) == 3:
            return front.stop(rest[0], int(rest[1]), rest[2])
    except (ValueError, OSError) as exc:
        print(f"launcher agent: {exc}", file=sys.stderr)
        return 1
    print(_USAGE, file=sys.stderr)
    return 2
