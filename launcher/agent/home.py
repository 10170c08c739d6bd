"""Folders and files of the agent on its worker, and the locks that say who is alive."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from launcher.records.paths import JOB_ID

_SHA256 = re.compile(r"[0-9a-f]{64}")


def folder(path: Path) -> Path:
    """`path` as an existing folder that only its owner can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes) -> None:
    """The whole file or none of it, readable by its owner only (the agent's umask)."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file, "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - 65536, 0))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def lock(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """An open descriptor that holds a lock on `path`, or None where somebody else holds it. Close it to let go."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _held(path: Path, *, shared: bool) -> bool:
    fd = lock(path, shared=shared)
    if fd is not None:
        os.close(fd)
    return fd is None


class Home:
    """~/.launcher"""

    def __init__(self) -> None:
        self.root = folder(Path.home() / ".launcher")
        self.worker_lock = self.root / "worker.lock"  # held while an attempt's processes may run, which its text names
        self.environments = self.root / "envs"
        self.pythons = self.root / "python"

    def blob(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return folder(self.root / "blobs") / sha256

    def attempt(self, job_id: str, attempt: int) -> AttemptFolder:
        if not JOB_ID.fullmatch(job_id) or attempt < 1:
            raise ValueError(f"not a job id and an attempt: {job_id!r}, {attempt}")
        return AttemptFolder(self.root / "jobs" / job_id / str(attempt))


class AttemptFolder:
    """~/.launcher/jobs/<job>/<attempt>/: what supervisor, runner and fronts tell each other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alive_lock = path / "supervisor.lock"  # held by the supervisor for as long as it lives
        self.clients_lock = path / "clients.lock"  # held, shared, by each front whose client is connected
        self.started = path / "started"
        self.control = path / "control"  # a named pipe: a line written to it ends the attempt, and is the reason
        self.mark = path / "mark"  # the random text in the environment of every process of the attempt
        self.log = path / "log"
        self.setup_log = path / "setup.log"
        self.agent_log = path / "agent.log"
        self.events = path / "events"  # one WorkerStatus a line, at each phase change
        self.payload = path / "payload.pkl"
        self.project = path / "project"
        self.report = path / "report.json"  # what the runner says of its end
        self.result = path / "result.pkl"
        self.ended = path / "ended"  # exists once no process of the attempt is left
        self.lease = path / "lease.json"  # a Handover: what the front may take back; written before the two below
        self.outcome = path / "outcome.json"
        self.error = path / "error"  # text: why the agent gave up without an outcome

    def supervisor_alive(self) -> bool:
        return _held(self.alive_lock, shared=True)

    def client_connected(self) -> bool:
        return _held(self.clients_lock, shared=False)
