"""Start, watch and end processes, also those that left their session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.agent.control import StopRequest

MARK_VARIABLE = "LAUNCHER_MARK"

_STEP_S = 0.02  # how often the end of processes that are not children is looked for
_KILL_S = 10.0  # how long SIGKILL may take (a process in the kernel's hands dies when it comes back)


def start(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, output: int, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """A process in a session and group of its own, without input. `keep`: descriptors that it has, too."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=nothing, stdout=output, stderr=output, start_new_session=True, pass_fds=keep
    )


def wait(child: subprocess.Popen[bytes], stop: StopRequest, timeout_s: float | None = None) -> bool:
    """Until the child ended (True), or a stop was requested or the time was over before (False)."""
    changed = threading.Event()

    def reap() -> None:
        child.wait()
        changed.set()

    threading.Thread(target=reap, name="reap", daemon=True).start()
    stop.wake(changed)
    changed.wait(timeout_s)
    return child.returncode is not None


def run(argv: Sequence[str], env: Mapping[str, str], output: int, stop: StopRequest) -> int:
    """Runs one command to its end and returns its exit code; Stopped, with the command killed, on a stop request."""
    stop.check()
    # From the root folder, uv finds no settings of a project that this home folder may lie in.
    child = start(argv, env, Path("/"), output)
    if not wait(child, stop):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    stop.check()
    return code


def end_all(mark: str, *, grace_s: float, child: int = 0) -> bool:
    """Ends every descendant of this process and every process with `mark` in its environment.

    SIGTERM first, SIGKILL after `grace_s`. Returns whether all are gone. `child` is reaped by somebody else.
    """
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        give_up_at = time.monotonic() + patience_s
        told: set[int] = set()
        while living := _living(mark, child):
            for pid in living - told:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told |= living
            if time.monotonic() >= give_up_at:
                break
            time.sleep(_STEP_S)
        else:
            return True
    return False


def _living(mark: str, child: int) -> set[int]:
    """Whom end_all has to end. Orphans of ours that have ended are collected."""
    parents = {pid: int(stat[1]) for pid in pids() if (stat := _stat(pid))}
    entry = f"{MARK_VARIABLE}={mark}".encode()
    living = set()
    for pid in parents:
        if pid == os.getpid() or not (_descends(pid, parents) or _is_marked(pid, entry)):
            continue
        if pid != child:
            with contextlib.suppress(ChildProcessError):  # somebody else's child
                os.waitpid(pid, os.WNOHANG)
        if _stat(pid)[:1] not in ([], [b"Z"], [b"X"]):
            living.add(pid)
    return living


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def _is_marked(pid: int, entry: bytes) -> bool:
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False


def pids() -> list[int]:
    """Every process of this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _stat(pid: int) -> list[bytes]:
    """State, parent, … of a process ("pid (name) state ppid": the name may hold anything); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
