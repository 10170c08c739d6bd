"""The user's configuration folder: files in it are nobody else's to read or write."""

from __future__ import annotations

import os
import stat
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
        _check(folder)
    return folder


def write_private(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600 at once (a reader sees the old or the new one), with its folders 0700."""
    _make_folder(path.parent)
    temporary = _write_temporary(path, data)
    os.replace(temporary, path)


def create_private(path: Path, data: bytes) -> bool:
    """As write_private, but only where there is no such file; whether it was written. For races of processes."""
    _make_folder(path.parent)
    temporary = _write_temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def read_private(path: Path) -> bytes | None:
    """The file's bytes, None where there is none. ConfigError where others could read or write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
    with open(descriptor, "rb") as file:
        _check_status(path, os.fstat(descriptor))
        return file.read()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise ConfigError(f"{folder} is a file, a folder is needed there. Move it away.") from exc
    except OSError as exc:
        raise ConfigError(
            f"{folder} cannot be made: {exc.strerror}. Choose another place with LAUNCHER_CONFIG_DIR."
        ) from exc


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}.") from exc
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    return temporary


def _check(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} is not a folder. Move it away.")
    _check_status(path, status)


def _check_status(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}, not to you ({os.geteuid()}), so it is not used. "
            "Make it yours, or choose another place with LAUNCHER_CONFIG_DIR."
        )
    if status.st_mode & 0o077:
        mode = "u=rwX,go="
        raise ConfigError(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); it decides who gets "
            f"your code and credentials. Run: chmod {mode} '{path}'"
        )
