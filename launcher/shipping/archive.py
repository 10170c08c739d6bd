"""The project as one deterministic tar.gz, and the memory of what it was the last time."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from launcher.errors import PackagingError
from launcher.records.jobs import Blob
from launcher.shipping.cache import Cache
from launcher.shipping.captured import Search, found_error
from launcher.shipping.ignore import LAUNCHERIGNORE
from launcher.shipping.local_blob import CHUNK_BYTES, LocalBlob, Spool
from launcher.shipping.stamps import racy
from launcher.shipping.walk import FILE, FOLDER, LINK, Entry, files_of

FORMAT = 1  # part of what is remembered: raised when the same files would give other bytes


@dataclasses.dataclass
class _Memo:
    """One packing of one root. `racy`: digests of files written so recently that their times prove nothing."""

    fingerprint: str
    sha256: str
    size: int
    crc32c: str
    clean: list[str]  # keyed hashes of values that are in none of the files
    racy: dict[str, str]
    entries: list[Entry] | None = None  # kept in this process only, to compare without hashing


_memos: dict[str, _Memo] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


class Archive:
    """Packs one root's entries. Files are read only where they, or a value to search for, changed."""

    def __init__(self, root: Path, cache: Cache, on_step: Callable[[str], None]) -> None:
        self._root = root
        self._cache = cache
        self._on_step = on_step
        self._key = f"{cache.root}\0{root}"
        self._name = f"archives/{hashlib.sha256(os.fsencode(root)).hexdigest()}.json"

    def pack(self, entries: list[Entry], search: Search, keep: Callable[[Spool], object]) -> LocalBlob:
        """The archive's blob. A file that is made for it goes to `keep`, which closes it in the end.

        Raises PackagingError for a file that cannot be read, or that holds a captured value.
        """
        with _guard:
            lock = _locks.setdefault(self._key, threading.Lock())
        with lock:  # a second submission of the same project waits and finds the work done
            memo = self._recall(entries)
            if memo is not None and self._still_true(memo, entries):
                new = search.without(memo.clean)
                if new:
                    self._on_step("searching the project's files for captured values")
                    self._search(entries, new)
                    memo.clean = [*memo.clean, *new.macs.values()]
                    self._store(memo)
            else:
                self._on_step("packing the project")
                taken_ns = time.time_ns()
                spool, recent = self._write(entries, search, taken_ns)
                keep(spool)
                local = spool.finish()
                self._store(_Memo(fingerprint(entries), local.blob.sha256, local.blob.size, local.crc32c,
                                  list(search.macs.values()), recent, entries))  # fmt: skip
                return local
        blob = Blob(memo.sha256, memo.size)
        return LocalBlob(blob, memo.crc32c, lambda: self._again(entries, blob, keep))

    def _recall(self, entries: list[Entry]) -> _Memo | None:
        memo = _memos.get(self._key)
        if memo is not None and memo.entries == entries:
            return memo
        document = self._cache.read_json(self._name)
        if document is None or document.get("fingerprint") != fingerprint(entries):
            return None
        memo = _Memo(**document, entries=entries)
        _memos[self._key] = memo
        return memo

    def _store(self, memo: _Memo) -> None:
        _memos[self._key] = memo
        document = {key: value for key, value in vars(memo).items() if key != "entries"}
        self._cache.write_json(self._name, document)

    def _still_true(self, memo: _Memo, entries: list[Entry]) -> bool:
        """Reads the files whose times prove nothing once more; afterwards they mostly do."""
        if not memo.racy:
            return True
        taken_ns = time.time_ns()
        recent = {}
        for entry in files_of(entries):
            if entry.path in memo.racy:
                digest = hashlib.sha256()
                self._read(entry, digest.update)
                if digest.hexdigest() != memo.racy[entry.path]:
                    return False
                if racy(entry.mtime_ns, entry.ctime_ns, taken_ns):
                    recent[entry.path] = memo.racy[entry.path]
        memo.racy = recent
        self._store(memo)
        return True

    def _again(self, entries: list[Entry], blob: Blob, keep: Callable[[Spool], object]) -> BinaryIO:
        """The remembered archive's bytes, for a bucket that does not have them."""
        spool, _ = self._write(entries, None, 0)
        keep(spool)
        local = spool.finish()
        if local.blob != blob:
            raise PackagingError(f"files of {self._root} changed while they were being sent. Fix: call it again.")
        return local.open()

    def _search(self, entries: list[Entry], search: Search) -> None:
        for entry in files_of(entries):
            stream = search.stream()
            self._read(entry, stream.feed)
            if stream.found:
                raise _found(stream.found, entry.path)

    def _read(self, entry: Entry, feed: Callable[[bytes], None]) -> None:
        with _opened(self._root, entry.path) as file:
            while data := file.read(CHUNK_BYTES):
                feed(data)

    def _write(self, entries: list[Entry], search: Search | None, taken_ns: int) -> tuple[Spool, dict[str, str]]:
        spool = Spool("the project's archive")
        recent: dict[str, str] = {}
        try:
            # Level 1: what matters is how soon the job starts, and most large files are compressed already.
            with (
                gzip.GzipFile("", "wb", compresslevel=1, fileobj=cast(IO[bytes], spool), mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for entry in entries:
                    digest = self._append(tar, entry, search)
                    if entry.kind == FILE and racy(entry.mtime_ns, entry.ctime_ns, taken_ns):
                        recent[entry.path] = digest
        except BaseException:
            spool.close()
            raise
        return spool, recent

    def _append(self, tar: tarfile.TarFile, entry: Entry, search: Search | None) -> str:
        """Adds one entry; a file's SHA-256."""
        info = tarfile.TarInfo(entry.path)  # uid, gid and mtime are 0
        info.mode = 0o755 if entry.executable or entry.kind == FOLDER else 0o644
        if entry.kind != FILE:
            info.type = tarfile.DIRTYPE if entry.kind == FOLDER else tarfile.SYMTYPE
            info.mode = 0o755 if entry.kind == FOLDER else 0o777
            info.linkname = entry.target if entry.kind == LINK else ""
            tar.addfile(info)
            return ""
        with _opened(self._root, entry.path) as file:
            info.size = os.fstat(file.fileno()).st_size  # it may have grown since the walk
            reader = _Reader(file, search)
            try:
                tar.addfile(info, cast(IO[bytes], reader))
            except OSError as exc:
                raise PackagingError(
                    f"{self._root / entry.path} changed while it was read ({exc}). Fix: call it again when "
                    f"nothing writes to it, or name it in {LAUNCHERIGNORE}."
                ) from exc
        if reader.found:
            raise _found(reader.found, entry.path)
        return reader.digest.hexdigest()


class _Reader:
    """What tarfile reads a file through: digested and searched on the way."""

    def __init__(self, file: BinaryIO, search: Search | None) -> None:
        self._file = file
        self._stream = search.stream() if search else None
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        if self._stream is not None:
            self._stream.feed(data)
        return data

    @property
    def found(self) -> str:
        return self._stream.found if self._stream is not None else ""


def fingerprint(entries: list[Entry]) -> str:
    """What tells two listings apart, times and inodes included."""
    return hashlib.sha256(
        repr((FORMAT, [tuple(entry) for entry in entries])).encode("utf-8", "surrogatepass")
    ).hexdigest()


def check_size(root: Path, entries: list[Entry], max_bytes: int) -> None:
    """PackagingError with the largest files where the files add up to more than `max_bytes`."""
    total = sum(entry.size for entry in entries)
    if total <= max_bytes:
        return
    largest = sorted(files_of(entries), key=lambda entry: (-entry.size, entry.path))[:10]
    listing = "\n".join(f"  {megabytes(entry.size):>12}  {entry.path}" for entry in largest)
    raise PackagingError(
        f"the files of {root} add up to {megabytes(total)}, the limit is {megabytes(max_bytes)}. "
        f"The largest:\n{listing}\n"
        f"Fix: name what the job does not need in {root / LAUNCHERIGNORE} (`launcher files` shows the rest), "
        "or raise max_archive_bytes."
    )


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def _opened(root: Path, path: str) -> BinaryIO:
    full = root / path
    try:
        # Not through a link, nor waiting on a FIFO: it may have been replaced since the walk.
        return os.fdopen(os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as exc:
        raise PackagingError(
            f"cannot read {full}: {exc.strerror}. Fix its permissions, or name it in {root / LAUNCHERIGNORE}."
        ) from exc


def _found(name: str, path: str) -> PackagingError:
    return found_error(
        name, path, f"remove it from that file, or name the file in {LAUNCHERIGNORE}, or do not capture {name}."
    )
