"""The agent's command line: what the client's one `exec` runs on a worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.agent.control import Timing

_USAGE = "usage: start | follow JOB ATTEMPT OFFSET | stop JOB ATTEMPT REASON"


def main(argv: Sequence[str], timing: Timing | None = None) -> int:
    """One mode; its exit status. Frames go to standard output, words to standard error."""
    os.umask(0o077)
    mode, *rest = argv or [""]
    if mode == "run" and len(rest) == 1:  # what `start` starts
        from launcher.agent import runner  # needs cloudpickle: only in the job's own environment

        os.umask(0o022)  # the user's files are as everywhere else
        runner.main(rest[0])
    from launcher.agent import front, start

    try:
        if mode == "start" and not rest:
            return start.start(timing)
        if mode == "follow" and len(rest) == 3:
            return front.follow(rest[0], int(rest[1]), int(rest[2]))
        if mode == "stop" and len(rest) == 3:
            return front.stop(rest[0], int(rest[1]), rest[2])
    except (ValueError, OSError) as exc:
        print(f"launcher agent: {exc}", file=sys.stderr)
        return 1
    print(_USAGE, file=sys.stderr)
    return 2
