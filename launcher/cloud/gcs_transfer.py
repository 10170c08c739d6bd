"""Bulk data to and from GCS: resumable, with bounded memory, checked by crc32c."""

from __future__ import annotations

import base64
import json
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
        self.done = False
        self._session = session
        self._name = name
        self._source = source
        self._start = source.tell()
        self._size = size
        self._crc32c = crc32c
        self._url = ""
        self._unsure = False  # whether GCS may have more than `sent`, as an answer was lost

    def step(self) -> None:
        """Sends one chunk, beginning or resuming the session first where needed."""
        if not self._url:
            self._begin()
        if self._unsure:
            self._put(b"", f"bytes */{self._size}")
            if self.done or not self._url:
                return
        self._source.seek(self._start + self.sent)
        chunk = exactly(self._source, min(CHUNK, self._size - self.sent), self._name)
        self._put(chunk, f"bytes {self.sent}-{self.sent + len(chunk) - 1}/{self._size}")

    def _begin(self) -> None:
        # With the sum in it GCS refuses other bytes by itself.
        metadata = {"name": self._name, "contentType": "application/octet-stream", "crc32c": self._crc32c}
        answer = self._session.request(
            "POST",
            f"{self._session.endpoint}/upload/storage/v1/b/{self._session.bucket}/o",
            params={"uploadType": "resumable", "name": self._name, "ifGenerationMatch": "0"},
            headers={"Content-Type": "application/json", "X-Upload-Content-Length": str(self._size)},
            data=json.dumps(metadata).encode(),
        )
        self._url = answer.headers["Location"]
        self.sent, self._unsure = 0, False

    def _put(self, chunk: bytes, content_range: str) -> None:
        self._unsure = True
        headers = {"Content-Range": content_range}
        answer = self._session.request("PUT", self._url, headers=headers, data=chunk, accept=(308, *_LOST_SESSION))
        self._unsure = False
        if answer.status_code in _LOST_SESSION:
            self._url = ""
        elif answer.status_code == 308:
            self.sent = int(answer.headers["Range"].rpartition("-")[2]) + 1 if "Range" in answer.headers else 0
        else:
            self.done = True


class Download:
    """One object from byte `start` on, over as many requests as it takes, all of one generation."""

    def __init__(self, session: GcsSession, name: str, target: BinaryIO, start: int) -> None:
        import google_crc32c

        self.position = start
        self.done = False
        self._session = session
        self._name = name
        self._target = target
        self._generation = ""
        self._expected = ""  # crc32c of the whole object
        self._sum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # untyped library

    @property
    def damaged(self) -> bool:
        """Whether the bytes are not those of GCS's sum; only for a download from byte 0."""
        return bool(self._expected) and _base64(self._sum) != self._expected

    def step(self) -> bool:
        """One request, until its end or until the connection breaks. Raises only where nothing came."""
        import requests
        import urllib3

        before = self.position
        headers = {"Accept-Encoding": "identity"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        answer = self._session.get_media(
            self._name, accept=(416,), generation=self._generation, headers=headers, stream=True
        )
        with answer:
            if answer.status_code == 416:  # `start` is where the object ends: nothing to read
                self.done = True
                return True
            self._generation = answer.headers["X-Goog-Generation"]
            sums = [part.strip().partition("=") for part in answer.headers.get("X-Goog-Hash", "").split(",")]
            self._expected = next((value for kind, _, value in sums if kind == "crc32c"), "")
            try:
                while piece := answer.raw.read(_PIECE, decode_content=False):
                    self._sum.update(piece)
                    self._target.write(piece)
                    self.position += len(piece)
                self.done = True
            except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError):
                if self.position == before:
                    raise
        return True


def crc32c_of(data: bytes) -> str:
    """The crc32c of `data` as GCS writes it."""
    import google_crc32c

    return _base64(google_crc32c.Checksum(data))  # type: ignore[no-untyped-call]  # untyped library


def _base64(checksum: Any) -> str:
    return base64.b64encode(checksum.digest()).decode()


def exactly(source: BinaryIO, size: int, name: str) -> bytes:
    """`size` bytes of `source`; CloudError where it ends before."""
    data = source.read(size)
    if len(data) != size:
        raise CloudError(f"The data for {name} became shorter while it was being sent. Nothing was stored.")
    return data
