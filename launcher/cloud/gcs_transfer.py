"""Bulk data to and from GCS: resumable, with bounded memory, checked by crc32c."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from launcher.cloud.gcs_session import GcsSession
from launcher.errors import CloudError

CHUNK = 16 << 20  # a multiple of 256 KiB, as resumable uploads demand
_PIECE = 1 << 20
_LOST_SESSION = (404, 410)


class Upload:
    """One resumable upload of `size` bytes from a seekable source. Stepping on after an error resumes it."""

    def __init__(self, session: GcsSession, name: str, source: BinaryIO, size: int, crc32c: str) -> None:
        self.sent = 0  # bytes that GCS has confirmed
        self.stored: dict[str, Any] | None = None  # the object's metadata, once it is complete
        self._session = session
        self._name = name
        self._source = source
        self._start = source.tell()
        self._size = size
        self._given = crc32c
        self._sum = Checksum()
        self._url = ""
        self._unsure = False  # whether GCS may have more than `sent`, as an answer was lost

    @property
    def crc32c(self) -> str:
        return self._given or self._sum.text

    def step(self) -> None:
        """Sends one chunk, beginning or resuming the session first where needed."""
        if not self._url:
            self._begin()
        if self._unsure:
            self._put(b"", f"bytes */{self._size}")
            if self.stored is not None or not self._url:
                return
        self._source.seek(self._start + self.sent)
        chunk = exactly(self._source, min(CHUNK, self._size - self.sent), self._name)
        self._sum.add(chunk, self.sent)
        end = self.sent + len(chunk)
        self._put(chunk, f"bytes {self.sent}-{end - 1}/{self._size}")

    def _begin(self) -> None:
        metadata = {"name": self._name, "contentType": "application/octet-stream"}
        if self._given:
            metadata["crc32c"] = self._given  # GCS then refuses other bytes by itself
        answer = self._session.request(
            "POST",
            self._session.upload_url(),
            {"uploadType": "resumable", "name": self._name, "ifGenerationMatch": "0"},
            headers={"Content-Type": "application/json", "X-Upload-Content-Length": str(self._size)},
            data=json.dumps(metadata).encode(),
        )
        self._url = answer.headers["Location"]
        self.sent, self._unsure = 0, False

    def _put(self, chunk: bytes, content_range: str) -> None:
        self._unsure = True
        answer = self._session.request(
            "PUT",
            self._url,
            headers={"Content-Range": content_range},
            data=chunk,
            accept=(308, *_LOST_SESSION),
        )
        self._unsure = False
        if answer.status_code in _LOST_SESSION:
            self._url = ""
        elif answer.status_code == 308:
            self.sent = int(answer.headers["Range"].rpartition("-")[2]) + 1 if "Range" in answer.headers else 0
        else:
            self.stored = answer.json()
            self.sent = self._size


class Download:
    """One object from byte `start` on, over as many requests as it takes, all of one generation."""

    def __init__(self, session: GcsSession, name: str, target: BinaryIO, start: int) -> None:
        self.position = start
        self.done = False
        self.expected = ""  # crc32c of the whole object
        self._session = session
        self._name = name
        self._target = target
        self._start = start
        self._generation = ""
        self._sum = Checksum()

    @property
    def crc32c(self) -> str:
        return self._sum.text

    def step(self) -> bool:
        """One request, until its end or until the connection breaks. Raises only where nothing came."""
        import requests
        import urllib3

        before = self.position
        query = {"alt": "media"} | ({"generation": self._generation} if self._generation else {})
        headers = {"Accept-Encoding": "identity"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        answer = self._session.request(
            "GET", self._session.media_url(self._name), query, headers=headers, stream=True, accept=(416,)
        )
        with answer:
            if answer.status_code == 416:  # `start` is where the object ends: nothing to read
                self.done = True
                return True
            self._begin(answer.headers)
            try:
                while piece := answer.raw.read(_PIECE, decode_content=False):
                    self._sum.add(piece, self.position - self._start)
                    self._target.write(piece)
                    self.position += len(piece)
                self.done = True
            except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError):
                if self.position == before:
                    raise
        return True

    def _begin(self, headers: Mapping[str, str]) -> None:
        self._generation = self._generation or headers.get("X-Goog-Generation", "")
        sums = [part.strip().partition("=") for part in headers.get("X-Goog-Hash", "").split(",")]
        self.expected = next((value for kind, _, value in sums if kind == "crc32c"), self.expected)


class Checksum:
    """CRC32C over bytes that may come again (after a resumption) but never with a gap."""

    def __init__(self) -> None:
        import google_crc32c

        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # untyped library
        self._upto = 0

    def add(self, data: bytes, at: int) -> None:
        fresh = memoryview(data)[self._upto - at :]
        self._crc.update(bytes(fresh) if at < self._upto else data)
        self._upto += len(fresh)

    @property
    def text(self) -> str:
        """As GCS writes it: base64 of four big-endian bytes."""
        return base64.b64encode(self._crc.digest()).decode()


def crc32c_of(data: bytes) -> str:
    """The crc32c of `data` as GCS writes it."""
    checksum = Checksum()
    checksum.add(data, 0)
    return checksum.text


def exactly(source: BinaryIO, size: int, name: str) -> bytes:
    """`size` bytes of `source`; CloudError where it ends before."""
    data = source.read(size)
    if len(data) != size:
        raise CloudError(f"The data for {name} became shorter while it was being sent. Nothing was stored.")
    return data
