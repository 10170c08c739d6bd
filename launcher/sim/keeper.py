"""The process that outlives the simulator's server just long enough to kill everything it started.

`python -m launcher.sim.keeper -- ARGV…` runs ARGV, passes SIGTERM, SIGINT and SIGHUP on to it, and, whatever
way it ends, kills every process below itself before it exits with the same status (128 + N for signal N).
When the keeper itself is killed, so is the server (Linux), and with it each worker's init (worker_init).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from launcher.sim.worker_init import become_subreaper, die_with_parent, kill_descendants

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_USAGE_ERROR = 2


def keep(argv: Sequence[str]) -> int:
    """Run `argv` to its end, then kill what it left. Returns its exit code, 128 + N after signal N."""
    become_subreaper()
    # Blocked until the server exists, so that an early signal still reaches it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        _become(argv, keeper)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: _forward(number, server))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    while True:
        pid, status = os.wait()  # also reaps the orphans this process adopts
        if pid == server:
            break
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)  # the number may be another process's from here on
    kill_descendants(keeper)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _forward(number: int, server: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, number)


def _become(argv: Sequence[str], keeper: int) -> NoReturn:
    try:
        # A group of its own: Ctrl-C in a terminal reaches the keeper, which passes it on once.
        os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != keeper:  # it died before the line above
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        os.execvp(argv[0], list(argv))
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def main(arguments: Sequence[str]) -> int:
    """The command line: everything after `--` is the server."""
    if len(arguments) < 2 or arguments[0] != "--":
        print("usage: python -m launcher.sim.keeper -- ARGV…", file=sys.stderr)
        return _USAGE_ERROR
    return keep(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
