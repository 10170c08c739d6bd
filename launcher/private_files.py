"""The user's configuration folder: files in it are nobody else's to read or write."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import ConfigError


def config_dir(create: bool = True) -> Path:
    """LAUNCHER_CONFIG_DIR, else $XDG_CONFIG_HOME/launcher, else ~/.config/launcher.

    Raises ConfigError where it is not this user's alone.
    """
    chosen = os.environ.get("LAUNCHER_CONFIG_DIR")
    if chosen:
        folder = Path(chosen).expanduser().absolute()
    else:
        base = os.environ.get("XDG_CONFIG_HOME", "")
        folder = (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "launcher"
    if create:
        _make_folder(folder)
    if folder.exists():
        _check_owner_and_mode(folder, folder.stat())
    return folder


def write_private(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600 at once (a reader sees the old or the new one), with its folders 0700."""
    with _temporary(path, data) as temporary:
        os.replace(temporary, path)


def create_private(path: Path, data: bytes) -> bool:
    """As write_private, but only where there is no such file; whether it was written. For races of processes."""
    with _temporary(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def read_private(path: Path) -> bytes | None:
    """The file's bytes, None where there is none. ConfigError where others could read or write it."""
    try:
        with open(path, "rb") as file:
            _check_owner_and_mode(path, os.fstat(file.fileno()))
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"{folder} cannot be made: {exc.strerror}. Move away what is there, or choose another place with "
            "LAUNCHER_CONFIG_DIR."
        ) from exc


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A file of mode 0600 beside `path` with this content; it does not stay."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}.") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _check_owner_and_mode(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}, not to you ({os.geteuid()}), so it is not used. "
            "Make it yours, or choose another place with LAUNCHER_CONFIG_DIR."
        )
    if status.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); it decides who gets "
            f"your code and credentials. Run: chmod u=rwX,go= '{path}'"
        )
