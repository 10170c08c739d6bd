"""The cache folder: what packing remembers between processes. Losing it costs time, never correctness."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError
from launcher.private_files import write_private

_locks: dict[tuple[str, ...], threading.Lock] = {}


def lock_for(*name: str) -> threading.Lock:
    """This process's lock of that name: of several submissions at once, one does the work."""
    return _locks.setdefault(name, threading.Lock())


class Cache:
    """Small files in one folder (0700). Writes are atomic, and silently skipped where the folder is read-only.

    Raises ConfigError where other users could write into the folder: a planted lock would choose what workers
    install.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with contextlib.suppress(OSError):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            info = self.root.stat()
        except OSError:
            return
        if info.st_uid != os.geteuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                f"cache folder {self.root}: other users can write to it. Fix: chmod 700 {self.root}, "
                "or choose another folder with LAUNCHER_CACHE_DIR."
            )

    def read(self, name: str) -> bytes | None:
        """What was written under `name`, None where there is nothing readable."""
        try:
            return (self.root / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Writes a file (0600) in one step: a reader sees all of it or none."""
        with contextlib.suppress(OSError, ConfigError):
            write_private(self.root / name, data)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object written by `write_json`; an empty one for anything else, an unreadable file included."""
        try:
            document = json.loads(self.read(name) or b"{}")
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        self.write(name, json.dumps(document, separators=(",", ":")).encode())

    def mac(self, value: bytes) -> str:
        """A keyed hash, to remember that a secret was seen without keeping anything it could be guessed from."""
        return hmac.new(self._mac_key, value, hashlib.sha256).hexdigest()

    @functools.cached_property
    def _mac_key(self) -> bytes:
        key = self.read("mac.key") or b""
        if len(key) != 32:
            key = secrets.token_bytes(32)
            self.write("mac.key", key)
        return key


def open_cache(root: Path | None = None) -> Cache:
    """This process's cache in `root`; None means LAUNCHER_CACHE_DIR, or ~/.cache/launcher."""
    chosen = root or os.environ.get("LAUNCHER_CACHE_DIR") or Path.home() / ".cache" / "launcher"
    return _opened(Path(os.path.abspath(os.path.expanduser(chosen))))


@functools.cache
def _opened(root: Path) -> Cache:
    return Cache(root)
