"""The TPU chips of this machine: whether there are any, and whether somebody still has them."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from launcher.agent import processes
from launcher.agent.control import AttemptFailed, StopRequest

LOCK_FILE = Path("/tmp/libtpu_lockfile")  # libtpu's own: it outlives a process that was killed
_BUSY_S = 20.0  # chips can stay busy for seconds after their process was killed


def devices(dev: Path = Path("/dev")) -> list[Path]:
    """One device per chip: /dev/accel0 (up to v4) or /dev/vfio/0 (v5e and later)."""
    return [*dev.glob("accel[0-9]*"), *dev.glob("vfio/[0-9]*")]


def free(files: list[Path], stop: StopRequest, lock_file: Path = LOCK_FILE) -> None:
    """Returns when no process has the chips, and removes a stale lock file. AttemptFailed naming who keeps them."""
    give_up_at = time.monotonic() + _BUSY_S
    while holder := _holder([*files, lock_file]):
        if time.monotonic() >= give_up_at:
            pid, command = holder
            raise AttemptFailed(
                "SetupError",
                f"the worker's TPU chips are in use by process {pid} ({command[:200]}). If it is not needed, end it on "
                f"the worker: kill {pid}",
            )
        stop.event.wait(0.5)
        stop.check()
    with contextlib.suppress(OSError):  # not there, or another user's
        lock_file.unlink()


def _holder(files: list[Path]) -> tuple[int, str] | None:
    """A process that has one of `files` open (as far as this user can see), and its command line."""
    wanted = {os.path.realpath(file) for file in files}
    for pid in processes.pids():
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) in wanted for fd in Path(f"/proc/{pid}/fd").iterdir()):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                return pid, command.decode(errors="replace").strip()
    return None
