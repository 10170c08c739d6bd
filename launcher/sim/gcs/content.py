"""An object's bytes on their way to disk, with their checksums."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from launcher.sim.gcs.errors import invalid

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """Finished bytes in a file of their own. Hashes are base64 of the big-endian digest, as in the API."""

    path: Path
    size: int
    md5: str
    crc32c: str

    def verify(self, *, md5: str | None, crc32c: str | None) -> None:
        """Raise GcsError 400 where the sender's hash is another than that of what arrived."""
        for label, sent, computed in (("MD5 hash", md5, self.md5), ("CRC32C", crc32c, self.crc32c)):
            if sent is not None and sent != computed:
                raise invalid(f'Provided {label} "{sent}" doesn\'t match calculated {label} "{computed}".')


class ContentWriter:
    """Appends to a file and hashes what it appends. Not thread-safe: one request writes at a time."""

    _crc32c: int

    def __init__(self, path: Path) -> None:
        """Go on after what the file already holds; it is created where missing."""
        self._path = path
        self._file = path.open("ab")
        self._rehash()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes) -> None:
        if self._file.closed:
            self._file = self._path.open("ab")
        self._file.write(data)
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        self._size += len(data)

    def truncate(self, size: int) -> None:
        """Forget all after the first `size` bytes."""
        if size == self._size:
            return
        self.close()
        os.truncate(self._path, size)
        self._rehash()

    def close(self) -> None:
        """Close the file: a killed process loses nothing from here on. The next write() goes on."""
        self._file.close()

    def finish(self) -> Content:
        """Close the file and tell what it holds."""
        self.close()
        digests = (self._md5.digest(), self._crc32c.to_bytes(4, "big"))
        md5, crc32c = (base64.b64encode(digest).decode() for digest in digests)
        return Content(self._path, self._size, md5, crc32c)

    def discard(self) -> None:
        """Close and delete the file; harmless once finish() and the store have taken it."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _rehash(self) -> None:
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        with self._path.open("rb") as existing:
            while block := existing.read(_BLOCK_BYTES):
                self._md5.update(block)
                self._crc32c = google_crc32c.extend(self._crc32c, block)
                self._size += len(block)
