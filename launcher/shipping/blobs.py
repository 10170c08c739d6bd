"""Content-addressed blobs: bytes or anonymous files with their digests, sent once and never again."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import hashlib
import io
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import google_crc32c

from launcher.cloud.seams import ObjectStore
from launcher.errors import PackagingError
from launcher.records import paths
from launcher.records.jobs import Blob
from launcher.shipping.cache import lock_for

CHUNK_BYTES = 1 << 20
# A blob that was there a moment ago is there now; the bucket's own clean-up counts in days.
_CONFIRMED_S = 600.0
# Below this, asking first costs as much as sending.
_ASK_FIRST_BYTES = 64 * 1024

_confirmed: dict[tuple[str, str, str], float] = {}


@dataclasses.dataclass(frozen=True)
class LocalBlob:
    """One blob and how to read it: `open()` gives a seekable reader at its start. One reader at a time."""

    blob: Blob
    crc32c: str  # base64, as GCS gives it
    open: Callable[[], BinaryIO] = dataclasses.field(repr=False, compare=False)


def of_bytes(data: bytes) -> LocalBlob:
    """A blob in memory."""
    crc32c = _text(google_crc32c.value(data))
    return LocalBlob(Blob(hashlib.sha256(data).hexdigest(), len(data)), crc32c, lambda: io.BytesIO(data))


def _text(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


class Spool:
    """A temporary file without a name: whatever ends this process, nothing of it stays behind.

    Write to it, `finish()`, then read it through the LocalBlob as often as needed, until `close()`. `watch` sees
    every byte that is written. Not thread-safe.
    """

    def __init__(self, what: str, watch: Callable[[bytes], None] = lambda data: None) -> None:
        self._what = what
        self._watch = watch
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._crc32c = 0
        with self._naming_the_place():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()

    def write(self, data: bytes | bytearray | pickle.PickleBuffer) -> int:
        if not isinstance(data, bytes):  # a large array or bytearray as it is in memory: copied piece by piece
            with pickle.PickleBuffer(data).raw() as view:
                return sum(self.write(bytes(view[at : at + CHUNK_BYTES])) for at in range(0, len(view), CHUNK_BYTES))
        self._size += len(data)
        self._sha256.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        self._watch(data)
        with self._naming_the_place():
            self._file.write(data)
        return len(data)

    def finish(self) -> LocalBlob:
        with self._naming_the_place():
            self._file.flush()
        return LocalBlob(Blob(self._sha256.hexdigest(), self._size), _text(self._crc32c), self._reader)

    def close(self) -> None:
        self._file.close()

    def _reader(self) -> BinaryIO:
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        return open(self._file.fileno(), "rb", CHUNK_BYTES, closefd=False)

    @contextlib.contextmanager
    def _naming_the_place(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            hint = " Set TMPDIR to a folder with more room." if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise PackagingError(
                f"cannot write {self._what} to {tempfile.gettempdir()}: {exc.strerror}.{hint}"
            ) from exc


def upload_blob(store: ObjectStore, owner: str, local: LocalBlob, *, endpoint: str = "") -> int:
    """Puts a blob under its own name where it is not there yet; the number of bytes sent.

    Raises PackagingError where the object there is not what its name says. Errors of the store pass through.
    """
    name = paths.blob(owner, local.blob.sha256)
    key = (endpoint, store.bucket, name)
    with lock_for(*key):  # of many submissions at once, one sends
        if time.monotonic() < _confirmed.get(key, 0.0):
            return 0
        sent = _send(store, name, local)
        _confirmed[key] = time.monotonic() + _CONFIRMED_S
        return sent


def _send(store: ObjectStore, name: str, local: LocalBlob) -> int:
    if local.blob.size >= _ASK_FIRST_BYTES and _is_there(store, name, local):
        return 0
    with local.open() as source:
        if store.upload(name, source, local.blob.size, local.crc32c):
            return local.blob.size
    if not _is_there(store, name, local):
        raise PackagingError(
            f"gs://{store.bucket}/{name} exists and does not: somebody deletes blobs. Fix: submit again."
        )
    return 0


def _is_there(store: ObjectStore, name: str, local: LocalBlob) -> bool:
    info = store.stat(name)
    if info is None:
        return False
    if (info.size, info.crc32c) != (local.blob.size, local.crc32c):
        raise PackagingError(
            f"gs://{store.bucket}/{name} is not what its name says ({info.size} bytes, crc32c {info.crc32c}; expected "
            f"{local.blob.size} bytes, {local.crc32c}): it was tampered with or is damaged. "
            f"Fix: find out who wrote it, then: gcloud storage rm gs://{store.bucket}/{name}"
        )
    return True
