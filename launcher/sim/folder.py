"""The folder that holds one simulator's state: private, locked while it serves, and with a note where it serves."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.sim.state import write_atomically

_LOCK = "lock"
_CHANGING = "changing"
_NOTE = "sim.json"
_LOG = "log"
#: A look at the lock by `status` holds it for microseconds; a server that wants it tries again for so long.
_LOCK_PATIENCE_S = 0.5


class FolderError(Exception):
    """The folder cannot be used; the message says why and what to do."""


class FolderInUse(FolderError):
    """Another simulator serves from this folder."""


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$LAUNCHER_SIM_DIR`, else `launcher/sim` in the user's folder for state."""
    if chosen := environment.get("LAUNCHER_SIM_DIR"):
        return Path(chosen).expanduser().absolute()
    state = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "launcher" / "sim"


class Folder:
    """One simulator's folder. Making this object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / _LOG
        self._lock: int | None = None

    def prepare(self) -> None:
        """Create it with mode 0700, or check that it is ours alone. Raises FolderError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            raise FolderError(f"cannot use {self.path} for the simulator: {error.strerror}") from error
        if found.st_uid != os.getuid():
            raise FolderError(f"{self.path} belongs to another user; set LAUNCHER_SIM_DIR to a folder of yours")
        if found.st_mode & 0o077:
            if any(self.path.iterdir()) and not (self.path / _LOCK).exists():
                raise FolderError(
                    f"{self.path} can be read by other users and holds files of something else; choose an empty "
                    f"folder with LAUNCHER_SIM_DIR, or run: chmod 700 {self.path}"
                )
            self.path.chmod(0o700)

    def lock(self) -> None:
        """Hold the folder until this process ends. Raises FolderInUse."""
        self._lock = self._take(_LOCK, _LOCK_PATIENCE_S)
        self.forget()

    @contextlib.contextmanager
    def changing(self, patience_s: float) -> Iterator[None]:
        """Within, nobody else starts or stops a simulator here. Raises FolderInUse after `patience_s`.

        Without it a second server, waiting for the lock, would begin to serve the moment the first is stopped.
        """
        descriptor = self._take(_CHANGING, patience_s)
        try:
            yield
        finally:
            os.close(descriptor)

    def _take(self, name: str, patience_s: float) -> int:
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise FolderInUse(f"another simulator serves from {self.path}") from None
                time.sleep(0.005)

    def is_locked(self) -> bool:
        """Whether a simulator holds the folder now."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # never used, or not ours
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def is_still_ours(self) -> bool:
        """Whether the folder that this process locked is still there."""
        assert self._lock is not None
        try:
            return os.path.samestat(os.fstat(self._lock), (self.path / _LOCK).stat())
        except FileNotFoundError:
            return False

    def note(self, where: Mapping[str, Any]) -> None:
        """Write down where the simulator serves."""
        write_atomically(self.path / _NOTE, dict(where))

    def noted(self) -> dict[str, Any] | None:
        """Where the simulator serves, or None when none does (yet)."""
        try:
            value = json.loads((self.path / _NOTE).read_text("utf-8"))
        except FileNotFoundError:
            return None
        return value if isinstance(value, dict) and self.is_locked() else None

    def forget(self) -> None:
        """Remove the note."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / _NOTE).unlink()

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The end of what the simulator last wrote."""
        try:
            return self.log.read_text("utf-8", errors="replace").splitlines()[-count:]
        except OSError:
            return []
