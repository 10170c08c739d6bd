"""One GCS bucket: records with preconditions, and bulk data."""

from __future__ import annotations

import email.utils
import functools
from collections.abc import Iterator
from typing import Any, BinaryIO

from launcher.cloud.gcs_session import REQUEST_TIMEOUT_S, GcsSession
from launcher.cloud.gcs_transfer import Download, Upload, crc32c_of, exactly
from launcher.cloud.seams import Clock, ObjectInfo, SystemClock
from launcher.errors import CloudError, Conflict, NotFound, Unavailable
from launcher.records.swap import Stored

__all__ = ["GcsBucket", "crc32c_of"]

_ONE_REQUEST = 4 << 20  # up to this size an upload is one request instead of two
_FIELDS = "name,size,crc32c,generation,updated"
_STUCK = 5  # answers without progress before a transfer is given up


class GcsBucket:
    """An ObjectStore. Thread-safe; google's libraries are imported at the first call.

    `timeout_s`: how long one call is repeated while GCS is unavailable; for bulk data, without any progress.
    """

    def __init__(
        self,
        bucket: str,
        endpoint: str = "https://storage.googleapis.com",
        *,
        project: str = "",
        credentials: str = "default",
        clock: Clock | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self.bucket = bucket
        self._session = GcsSession(bucket, endpoint, project, credentials, clock or SystemClock(), timeout_s)

    def read(self, name: str) -> Stored | None:
        """The object with its generation and GCS's time, or None where there is none."""
        about = self._session.about("reading", name, "storage.objects.get")
        return self._session.find(lambda: self._read(name), about)

    def create(self, name: str, data: bytes) -> int | None:
        """Writes with ifGenerationMatch=0. The new generation, or None where the object exists.

        None can also mean one's own write whose answer was lost: records.swap tells by the token.
        """
        return self.replace(name, data, 0)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        """Writes with ifGenerationMatch=generation. The new generation, or None where it is another one."""
        permission = "storage.objects.delete" if generation else "storage.objects.create"
        about = self._session.about("writing", name, permission)

        def write() -> int:
            blob = self._session.blob(name)
            blob.upload_from_string(
                data,
                content_type="application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                timeout=REQUEST_TIMEOUT_S,
                retry=None,
            )
            return int(blob.generation)

        try:
            return self._session.call(write, about)
        except Conflict:
            return None

    def stat(self, name: str) -> ObjectInfo | None:
        """Metadata, or None where there is no such object."""

        def reload() -> ObjectInfo:
            blob = self._session.blob(name)
            blob.reload(timeout=REQUEST_TIMEOUT_S, retry=None)
            return _to_info(blob)

        return self._session.find(reload, self._session.about("looking at", name, "storage.objects.get"))

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "") -> Iterator[ObjectInfo]:
        """Objects by name. With a delimiter, common prefixes come as ObjectInfo with generation 0."""
        about = self._session.about("listing", prefix, "storage.objects.list")
        token: str | None = None
        while True:
            page = functools.partial(self._page, prefix, start_after, delimiter, token)
            found, token = self._session.call(page, about)
            yield from found
            if not token:
                return

    def time(self) -> float:
        """GCS's clock now, by the Date of an answer."""
        about = self._session.about("asking the time of", "", "storage.objects.list")
        url = f"{self._session.endpoint}/storage/v1/b/{self.bucket}/o"
        query = {"maxResults": 1, "fields": "kind"}
        answer = self._session.call(lambda: self._session.request("GET", url, params=query), about)
        return _http_time(answer.headers["Date"])

    def upload(self, name: str, source: BinaryIO, size: int, crc32c: str) -> bool:
        """Streams `size` bytes of a seekable `source` with ifGenerationMatch=0. False when the object exists.

        CloudError where the bytes are not those of `crc32c`: nothing is stored then.
        """
        if size <= _ONE_REQUEST:
            data = exactly(source, size, name)
            if crc32c_of(data) != crc32c:
                raise CloudError(f"The data for {name} changed since its sum was taken. Nothing was stored.")
            return self.create(name, data) is not None
        about = self._session.about("uploading", name, "storage.objects.create")
        transfer = Upload(self._session, name, source, size, crc32c)
        stuck = 0
        try:
            while not transfer.done:
                before = transfer.sent
                self._session.call(transfer.step, about)
                stuck = 0 if transfer.sent > before else stuck + 1
                if stuck == _STUCK and not transfer.done:
                    raise Unavailable(f"{about.action}: the service takes the data, but does not keep it.")
        except Conflict:
            return False
        return True

    def download(self, name: str, target: BinaryIO, start: int = 0) -> int | None:
        """Streams the object from byte `start` into `target`; the number of bytes, or None on 404.

        After a dropped connection it goes on where it stopped, in the same generation. The sum is checked
        where the whole object was read.
        """
        about = self._session.about("downloading", name, "storage.objects.get")
        transfer = Download(self._session, name, target, start)
        while not transfer.done:
            if self._session.find(transfer.step, about) is None:
                if transfer.position > start:
                    raise NotFound(f"{about.action}: it was deleted while it was being read.")
                return None
        if start == 0 and transfer.damaged:
            raise CloudError(f"{about.action}: other bytes arrived than are stored. Try again.")
        return transfer.position - start

    def _read(self, name: str) -> Stored:
        from google.api_core.exceptions import PreconditionFailed

        while True:
            answer = self._session.get_media(name)
            generation = int(answer.headers["X-Goog-Generation"])
            now = _http_time(answer.headers["Date"])
            if "Last-Modified" in answer.headers:
                updated = _http_time(answer.headers["Last-Modified"])
                return Stored(answer.content, generation, updated, now)
            blob = self._session.blob(name)
            try:
                blob.reload(if_generation_match=generation, timeout=REQUEST_TIMEOUT_S, retry=None)
            except PreconditionFailed:  # written between the two: read what stands now
                continue
            return Stored(answer.content, generation, blob.updated.timestamp(), now)

    def _page(
        self, prefix: str, start_after: str, delimiter: str, token: str | None
    ) -> tuple[tuple[ObjectInfo, ...], str | None]:
        pages = self._session.client.list_blobs(
            self.bucket,
            prefix=prefix,
            start_offset=start_after or None,  # inclusive, so that name itself is dropped below
            delimiter=delimiter or None,
            page_token=token,
            fields=f"items({_FIELDS}),prefixes,nextPageToken",
            timeout=REQUEST_TIMEOUT_S,
            retry=None,
        )
        found = [_to_info(blob) for blob in next(pages.pages, ())]
        found += [ObjectInfo(common, 0, "", 0, 0.0) for common in pages.prefixes]
        found.sort(key=lambda info: info.name)
        return tuple(info for info in found if info.name > start_after), pages.next_page_token


def _to_info(blob: Any) -> ObjectInfo:
    return ObjectInfo(blob.name, int(blob.size), blob.crc32c, int(blob.generation), blob.updated.timestamp())


def _http_time(text: str) -> float:
    return email.utils.parsedate_to_datetime(text).timestamp()
