"""The project as one deterministic tar.gz, and the memory of what it was the last time."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from launcher.errors import PackagingError
from launcher.records.jobs import Blob
from launcher.shipping.blobs import LocalBlob, Spool
from launcher.shipping.cache import Cache, lock_for
from launcher.shipping.captured import Search, SearchedStream, found_error
from launcher.shipping.ignore import LAUNCHERIGNORE
from launcher.shipping.walk import FILE, FOLDER, LINK, Entry

_FORMAT = 2  # part of what is remembered: raised when the same files would give other bytes

# Two writes within one tick of a file system's clock leave the same times. Kernels tick each 1-10 ms; a time
# without nanoseconds comes from a file system that stores whole seconds (FAT: two).
_FINE_TICK_NS = 50_000_000
_COARSE_TICK_NS = 2_000_000_000


@dataclasses.dataclass(frozen=True)
class _Memo:
    """One packing of one root. `clean`: keyed hashes of values that are in none of the files."""

    fingerprint: str  # of the entries, times and inodes included
    sha256: str
    size: int
    crc32c: str
    clean: list[str]


_recent: dict[tuple[str, str], tuple[list[Entry], _Memo]] = {}  # this process's own: compared without hashing


class Archive:
    """Packs one root's entries. Files are read only where they, or a value to search for, changed.

    `files` closes the temporary files in the end.
    """

    def __init__(self, root: Path, cache: Cache, on_step: Callable[[str], None], files: contextlib.ExitStack) -> None:
        self._root = root
        self._cache = cache
        self._on_step = on_step
        self._files = files
        self._key = (str(cache.root), str(root))
        self._name = f"archives/{hashlib.sha256(os.fsencode(root)).hexdigest()}.json"

    def pack(self, entries: list[Entry], search: Search) -> LocalBlob:
        """The archive's blob. PackagingError for a file that cannot be read, or that holds a captured value."""
        with lock_for(*self._key):  # a second submission of the same project waits and finds the work done
            memo = self._recall(entries)
            if memo is not None and search.macs <= set(memo.clean):
                blob = Blob(memo.sha256, memo.size)
                return LocalBlob(blob, memo.crc32c, lambda: self._again(entries, blob))
            self._on_step("packing the project")
            started_ns = time.time_ns()
            local = self._write(entries, search.stream)
            if not any(_racy(entry, started_ns) for entry in entries):
                clean = sorted(search.macs.union(memo.clean if memo else ()))
                self._remember(entries, local, clean)
            return local

    def _recall(self, entries: list[Entry]) -> _Memo | None:
        known, memo = _recent.get(self._key, (None, None))
        if known == entries:
            return memo
        document = self._cache.read_json(self._name)
        if document.get("fingerprint") != _fingerprint(entries):
            return None
        memo = _Memo(**document)
        _recent[self._key] = (entries, memo)
        return memo

    def _remember(self, entries: list[Entry], local: LocalBlob, clean: list[str]) -> None:
        memo = _Memo(_fingerprint(entries), local.blob.sha256, local.blob.size, local.crc32c, clean)
        _recent[self._key] = (entries, memo)
        self._cache.write_json(self._name, dataclasses.asdict(memo))

    def _again(self, entries: list[Entry], blob: Blob) -> BinaryIO:
        """The remembered archive's bytes, for a bucket that does not have them."""
        local = self._write(entries, lambda: None)
        if local.blob != blob:
            raise PackagingError(f"files of {self._root} changed while they were being sent. Fix: call it again.")
        return local.open()

    def _write(self, entries: list[Entry], new_stream: Callable[[], SearchedStream | None]) -> LocalBlob:
        spool = Spool("the project's archive")
        self._files.callback(spool.close)
        # Level 1: what matters is how soon the job starts, and most large files are compressed already.
        with (
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=cast(IO[bytes], spool), mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for entry in entries:
                self._append(tar, entry, new_stream())
        return spool.finish()

    def _append(self, tar: tarfile.TarFile, entry: Entry, stream: SearchedStream | None) -> None:
        info = tarfile.TarInfo(entry.path)  # uid, gid and mtime are 0
        info.mode = 0o755 if entry.executable or entry.kind == FOLDER else 0o644
        if entry.kind != FILE:
            info.type = tarfile.DIRTYPE if entry.kind == FOLDER else tarfile.SYMTYPE
            info.mode = 0o777 if entry.kind == LINK else info.mode
            info.linkname = entry.target
            tar.addfile(info)
            return
        with _opened(self._root, entry.path) as file:
            info.size = os.fstat(file.fileno()).st_size  # it may have grown since the walk
            try:
                tar.addfile(info, cast(IO[bytes], _Searched(file, stream)))
            except OSError as exc:
                raise PackagingError(
                    f"{self._root / entry.path} changed while it was read ({exc}). Fix: call it again when "
                    f"nothing writes to it, or name it in {LAUNCHERIGNORE}."
                ) from exc
        if stream is not None and stream.found:
            fix = f"remove it from that file, or name the file in {LAUNCHERIGNORE}, or do not capture {stream.found}."
            raise found_error(stream.found, entry.path, fix)


class _Searched:
    """What tarfile reads a file through."""

    def __init__(self, file: BinaryIO, stream: SearchedStream | None) -> None:
        self._file = file
        self._stream = stream

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if self._stream is not None:
            self._stream.feed(data)
        return data


def _fingerprint(entries: list[Entry]) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *entries]).encode()).hexdigest()


def _racy(entry: Entry, read_ns: int) -> bool:
    """Whether a file that is read from `read_ns` on can change without its times showing it."""
    newest = max(entry.mtime_ns, entry.ctime_ns)
    tick = _COARSE_TICK_NS if newest % 1_000_000_000 == 0 else _FINE_TICK_NS
    return entry.kind == FILE and newest + tick >= read_ns


def _opened(root: Path, path: str) -> BinaryIO:
    full = root / path
    try:
        # Not through a link, nor waiting on a FIFO: it may have been replaced since the walk.
        return os.fdopen(os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as exc:
        raise PackagingError(
            f"cannot read {full}: {exc.strerror}. Fix its permissions, or name it in {root / LAUNCHERIGNORE}."
        ) from exc
