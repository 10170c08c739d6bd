"""Content-addressed uploads: created once, compared with what is there, never sent twice."""

from __future__ import annotations

import threading
import time

from launcher.cloud.seams import ObjectStore
from launcher.errors import PackagingError
from launcher.records import paths
from launcher.shipping.local_blob import LocalBlob

# A blob that was there a moment ago is there now; the bucket's own clean-up counts in days.
CONFIRMED_S = 600.0
# Below this, asking first costs as much as sending.
_ASK_FIRST_BYTES = 64 * 1024

_confirmed: dict[tuple[str, str, str], float] = {}
_locks: dict[tuple[str, str, str], threading.Lock] = {}
_guard = threading.Lock()


def upload_blob(store: ObjectStore, owner: str, local: LocalBlob, *, endpoint: str = "") -> int:
    """Puts a blob under its own name where it is not there yet; the number of bytes sent.

    Raises PackagingError where the object there is not what its name says. Errors of the store pass through.
    """
    name = paths.blob(owner, local.blob.sha256)
    key = (endpoint, store.bucket, name)
    with _guard:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:  # of many submissions at once, one sends
        if time.monotonic() < _confirmed.get(key, 0.0):
            return 0
        sent = _send(store, name, local)
        _confirmed[key] = time.monotonic() + CONFIRMED_S
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
