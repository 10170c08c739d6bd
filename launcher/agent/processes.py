"""Start, watch and end processes, also those that left their session."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.agent.failures import StopRequest
from launcher.agent.timing import Clock

MARK_VARIABLE = "LAUNCHER_MARK"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STEP_S = 0.02  # how often the end of processes that are not children is looked for
_KILL_S = 10.0  # how long SIGKILL may take (a process in the kernel's hands dies when it comes back)


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, whatever they do (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """This process is killed when the thread that started it ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Child:
    """A process in a session and group of its own. `changed` is set when it ended or `stop` was requested."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int, stop: StopRequest
    ) -> None:
        self.changed = threading.Event()
        self.process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        stop.wake(self.changed)
        threading.Thread(target=self._reap, name="reap", daemon=True).start()

    def _reap(self) -> None:
        self.process.wait()
        self.changed.set()

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal's number where one ended it."""
        return self.process.returncode


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int, stop: StopRequest) -> int:
    """Runs one command to its end and returns its exit code; Stopped, with the command killed, on a stop request."""
    stop.check()
    child = Child(argv, env=env, cwd=cwd, output=output, stop=stop)
    child.changed.wait()
    if stop.event.is_set():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
    stop.check()
    return child.process.wait()


def end_all(child: Child | None, mark: str, *, grace_s: float, clock: Clock) -> bool:
    """Ends the child, every descendant of this process and every process with `mark` in its environment.

    SIGTERM first, SIGKILL after `grace_s`. Returns whether all are gone.
    """
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        give_up_at = clock.monotonic() + patience_s
        told: set[int] = set()
        while living := _living(child, mark):
            _signal(child, living - told, number)
            told |= living
            if clock.monotonic() >= give_up_at:
                break
            clock.wait(_STEP_S)
        else:
            return True
    return False


def _living(child: Child | None, mark: str) -> set[int]:
    main = child.process.pid if child is not None else 0
    pids = set(descendants(os.getpid())) | set(marked(mark))
    pids.discard(os.getpid())
    for pid in list(pids):
        if pid != main and _reaped(pid):
            pids.discard(pid)
    if child is not None:
        if child.returncode is None:
            pids.add(main)
        else:
            pids.discard(main)
    return pids


def _reaped(pid: int) -> bool:
    """Collects `pid` if it is an orphan of ours that has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return _state(pid) in ("Z", "")


def _signal(child: Child | None, pids: set[int], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if child is not None and child.process.pid in pids:
            os.killpg(child.process.pid, number)  # reaches also what was forked since the list was made
    for pid in pids:
        if child is None or pid != child.process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def pids() -> list[int]:
    """Every process of this machine; empty where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except FileNotFoundError:
        return []


def _stat(pid: int) -> list[bytes]:
    """State, parent, … of a process ("pid (name) state ppid": the name may hold anything); empty when it is gone."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return []
    return data[data.rindex(b")") + 1 :].split()


def _state(pid: int) -> str:
    stat = _stat(pid)
    return stat[0].decode() if stat else ""


def descendants(root: int) -> list[int]:
    """Children of `root`, their children and so on, those that ended and were not waited for included."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        stat = _stat(pid)
        if stat:
            children.setdefault(int(stat[1]), []).append(pid)
    found: list[int] = []
    generation = children.get(root, [])
    while generation:
        found += generation
        generation = [child for pid in generation for child in children.get(pid, ())]
    return found


def marked(mark: str) -> list[int]:
    """Processes that were started with `mark` in their environment (those of other users cannot be seen)."""
    entry = f"{MARK_VARIABLE}={mark}".encode()
    found = []
    for pid in pids() if mark else ():
        with contextlib.suppress(OSError):
            if entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found
