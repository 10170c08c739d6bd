"""Folders and files of the agent on its worker, and the locks that say who is alive."""

from __future__ import annotations

import dataclasses
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
    """The whole file or none of it, readable by its owner only."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    temporary.replace(path)


def lock(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """An open descriptor that holds a lock on `path`, or None where somebody else holds it. Close it to let go."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@dataclasses.dataclass(frozen=True)
class Home:
    """~/.launcher"""

    root: Path

    @staticmethod
    def default() -> Home:
        return Home(folder(Path.home() / ".launcher"))

    @property
    def worker_lock(self) -> Path:
        """Held while an attempt's processes may run; its text names the attempt."""
        return self.root / "worker.lock"

    def blob(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return folder(self.root / "blobs") / sha256

    def uv(self, sha256: str) -> Path:
        return folder(self.root / "uv" / sha256) / "uv"

    def environment(self, name: str) -> Path:
        return folder(self.root / "envs") / name

    @property
    def pythons(self) -> Path:
        return self.root / "python"

    def attempt(self, job_id: str, attempt: int) -> AttemptFolder:
        if not JOB_ID.fullmatch(job_id) or attempt < 1:
            raise ValueError(f"not a job id and an attempt: {job_id!r}, {attempt}")
        return AttemptFolder(self.root / "jobs" / job_id / str(attempt))


@dataclasses.dataclass(frozen=True)
class AttemptFolder:
    """~/.launcher/jobs/<job>/<attempt>/: what supervisor, runner and fronts tell each other."""

    path: Path

    @property
    def alive_lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.path / "supervisor.lock"

    @property
    def clients_lock(self) -> Path:
        """Held, shared, by each front whose client is connected."""
        return self.path / "clients.lock"

    @property
    def started(self) -> Path:
        return self.path / "started"

    @property
    def control(self) -> Path:
        """A named pipe: a line written to it ends the attempt, and is the reason."""
        return self.path / "control"

    @property
    def mark(self) -> Path:
        """The random text in the environment of every process of the attempt."""
        return self.path / "mark"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def setup_log(self) -> Path:
        return self.path / "setup.log"

    @property
    def agent_log(self) -> Path:
        return self.path / "agent.log"

    @property
    def events(self) -> Path:
        """One WorkerStatus a line, at each phase change."""
        return self.path / "events"

    @property
    def payload(self) -> Path:
        return self.path / "payload.pkl"

    @property
    def project(self) -> Path:
        return self.path / "project"

    @property
    def task(self) -> Path:
        """What the runner is to do (task.Task as JSON)."""
        return self.path / "task.json"

    @property
    def report(self) -> Path:
        """What the runner says of its end (task.Ending as JSON)."""
        return self.path / "report.json"

    @property
    def result(self) -> Path:
        return self.path / "result.pkl"

    @property
    def ended(self) -> Path:
        """Exists once no process of the attempt is left."""
        return self.path / "ended"

    @property
    def outcome(self) -> Path:
        return self.path / "outcome.json"

    @property
    def error(self) -> Path:
        """Text: why the agent gave up without an outcome."""
        return self.path / "error"

    def supervisor_alive(self) -> bool:
        fd = lock(self.alive_lock, shared=True)
        if fd is None:
            return True
        os.close(fd)
        return False

    def client_connected(self) -> bool:
        fd = lock(self.clients_lock)
        if fd is None:
            return True
        os.close(fd)
        return False
