"""Why a runner ended without a report: its exit code, a signal, or memory."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from launcher.records.jobs import ErrorInfo


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """How often the kernel killed a process for memory, on this machine and in this process's cgroup; 0 if unknown."""
    files = [proc / "vmstat"]
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            files.append(cgroups / line.rpartition(":")[2].lstrip("/") / "memory.events")
    count = 0
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for name, _, value in (line.partition(" ") for line in file.read_text().splitlines()):
                count += int(value) if name == "oom_kill" else 0
    return count


def explain(returncode: int, *, oom_killed: bool) -> ErrorInfo:
    """The error of a runner that ended with `returncode` (minus the signal's number) and left no report."""
    if returncode >= 0:
        return ErrorInfo(
            kind="JobError",
            message=f"the job's process ended with exit code {returncode} before the function returned",
            exit_code=returncode,
        )
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    message = f"the job's process was killed by {name}"
    if -returncode == signal.SIGKILL and oom_killed:
        message = f"the worker ran out of memory: the kernel killed the job's process ({name})"
    elif -returncode == signal.SIGKILL:
        message += ": by somebody on the worker, or for memory"
    return ErrorInfo(kind="JobError", message=message, signal=name)
