"""When a file may be believed unchanged without reading it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# Two writes within one tick of a file system's clock leave the same times. Kernels tick each 1-10 ms; a time
# without nanoseconds comes from a file system that stores whole seconds (FAT: two).
FINE_TICK_NS = 50_000_000
COARSE_TICK_NS = 2_000_000_000


class Stamp(NamedTuple):
    """What changes when a file's content does. ctime too: a copy that keeps the time still moves it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stamp_of(info: os.stat_result) -> Stamp:
    return Stamp(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


def racy(mtime_ns: int, ctime_ns: int, read_ns: int) -> bool:
    """Whether a file read at `read_ns` could have been changed since without its times showing it."""
    newest = max(mtime_ns, ctime_ns)
    tick = COARSE_TICK_NS if newest % 1_000_000_000 == 0 else FINE_TICK_NS
    return newest + tick >= read_ns


class Remembered(Generic[T]):
    """Values computed from single files, in this process. `compute` reads the file; thread-safe."""

    def __init__(self, compute: Callable[[Path], T]) -> None:
        self._compute = compute
        self._values: dict[str, tuple[Stamp, T]] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> T:
        """The value for the file as it is now. OSError where it cannot be read."""
        stamp = stamp_of(path.stat())
        with self._lock:
            known = self._values.get(str(path))
        if known is not None and known[0] == stamp:
            return known[1]
        read_ns = time.time_ns()
        value = self._compute(path)
        with self._lock:
            if racy(stamp.mtime_ns, stamp.ctime_ns, read_ns):
                self._values.pop(str(path), None)
            else:
                self._values[str(path)] = (stamp, value)
        return value


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


texts: Remembered[str] = Remembered(_read_text)
