"""Blobs on the client: bytes or anonymous files with their digests, ready to be uploaded."""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Callable
from typing import BinaryIO, Protocol

import google_crc32c

from launcher.errors import PackagingError
from launcher.records.jobs import Blob

CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class LocalBlob:
    """One blob and how to read it. `open()` gives a seekable reader with an offset of its own."""

    blob: Blob
    crc32c: str  # base64, as GCS gives it
    open: Callable[[], BinaryIO] = dataclasses.field(repr=False, compare=False)


class Digest:
    """SHA-256, crc32c and size of a stream, in one pass."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._crc32c = 0

    def update(self, data: bytes) -> None:
        self.size += len(data)
        self._sha256.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)

    def blob(self) -> Blob:
        return Blob(self._sha256.hexdigest(), self.size)

    def crc32c(self) -> str:
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()


def of_bytes(data: bytes) -> LocalBlob:
    """A blob in memory."""
    digest = Digest()
    digest.update(data)
    return LocalBlob(digest.blob(), digest.crc32c(), lambda: io.BytesIO(data))


class Watcher(Protocol):
    """Sees every byte of a stream that is written."""

    def feed(self, data: bytes) -> None: ...


class Spool:
    """A temporary file without a name: whatever ends this process, nothing of it stays behind.

    Write to it, `finish()`, then read it through the LocalBlob as often as needed, until `close()`.
    Not thread-safe while it is written.
    """

    def __init__(self, what: str, watcher: Watcher | None = None) -> None:
        self._what = what
        self._watcher = watcher
        self._digest = Digest()
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        except OSError as exc:
            raise self._failed(exc) from exc

    def write(self, data: bytes | pickle.PickleBuffer) -> int:
        if isinstance(data, pickle.PickleBuffer):  # a large array as it is in memory: copied piece by piece
            with data.raw() as view:
                return sum(self.write(bytes(view[at : at + CHUNK_BYTES])) for at in range(0, len(view), CHUNK_BYTES))
        self._digest.update(data)
        if self._watcher is not None:
            self._watcher.feed(data)
        try:
            self._file.write(data)
        except OSError as exc:
            raise self._failed(exc) from exc
        return len(data)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as exc:
            raise self._failed(exc) from exc

    def finish(self) -> LocalBlob:
        self.flush()
        return LocalBlob(self._digest.blob(), self._digest.crc32c(), self._reader)

    def close(self) -> None:
        self._file.close()

    def _reader(self) -> BinaryIO:
        return io.BufferedReader(_Positioned(os.dup(self._file.fileno()), self._digest.size), CHUNK_BYTES)

    def _failed(self, exc: OSError) -> PackagingError:
        hint = " Set TMPDIR to a folder with more room." if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return PackagingError(f"cannot write {self._what} to {tempfile.gettempdir()}: {exc.strerror}.{hint}")


class _Positioned(io.RawIOBase):
    """Reads a descriptor at an offset of its own, so that several readers do not disturb each other."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's WriteableBuffer
        data = os.pread(self._descriptor, len(buffer), self._offset)
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        return self._offset

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
