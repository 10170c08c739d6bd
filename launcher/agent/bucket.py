"""One GCS bucket over the JSON API, and the content-addressed blobs in it. Every write states its precondition."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import hashlib
import io
import json
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from launcher.agent.control import AttemptFailed
from launcher.agent.home import Home
from launcher.agent.rest import Rest
from launcher.records import paths
from launcher.records.jobs import Blob
from launcher.records.swap import Stored


class TooLarge(Exception):
    """An object is larger than it may be."""


class Bucket:
    """Reads and writes with the retries of its Rest. HttpError, Unreachable and Stopped come from there."""

    def __init__(self, rest: Rest, endpoint: str, name: str) -> None:
        self.rest = rest
        self.name = name
        self._endpoint = endpoint.rstrip("/")
        self._path = f"storage/v1/b/{quote(name, safe='')}/o"

    def _media(self, name: str) -> str:
        return f"{self._endpoint}/{self._path}/{quote(name, safe='')}?alt=media"

    def read(self, name: str) -> Stored | None:
        """The object, or None where there is none.

        `updated` is not asked for (one request less) but given as `now`: here nobody else's lease counts as expired.
        """
        answer = self.rest.send("GET", self._media(name), ok=(404,))
        if answer.status == 404:
            return None
        now = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
        return Stored(answer.body, int(answer.headers["X-Goog-Generation"]), updated=now, now=now)

    def read_dated(self, name: str) -> Stored | None:
        """As `read`, with the true `updated`: one request more."""
        while True:
            stored = self.read(name)
            if stored is None:
                return None
            url = f"{self._endpoint}/{self._path}/{quote(name, safe='')}"
            answer = self.rest.send("GET", url, ok=(404,))
            if answer.status == 200:
                about = json.loads(answer.body)
                if int(about["generation"]) == stored.generation:
                    updated = datetime.datetime.fromisoformat(about["updated"].replace("Z", "+00:00"))
                    return dataclasses.replace(stored, updated=updated.timestamp())

    def create(self, name: str, data: bytes) -> int | None:
        """Writes with ifGenerationMatch=0. The new generation, or None where the object exists."""
        return self.replace(name, data, 0)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        """Writes with ifGenerationMatch=generation. The new generation, or None when somebody else wrote."""
        return self._write(name, io.BytesIO(data), len(data), generation)

    def upload_file(self, name: str, path: Path) -> None:
        """Creates the object (ifGenerationMatch=0) from a file of any size; only a block of it is in memory.

        An object that exists under the name is taken for this upload's own, whose answer was lost: the name must
        have this one writer.
        """
        with open(path, "rb") as file:
            self._write(name, file, path.stat().st_size, 0)

    def _write(self, name: str, file: BinaryIO, size: int, generation: int) -> int | None:
        query = f"uploadType=media&name={quote(name, safe='')}&ifGenerationMatch={generation}"
        url = f"{self._endpoint}/upload/{self._path}?{query}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}

        def once() -> int | None:
            file.seek(0)
            with self.rest.open("POST", url, ok=(412,), headers=headers, data=file) as response:
                return None if response.status == 412 else int(json.loads(response.read())["generation"])

        return self.rest.retrying(once)

    def download(self, name: str, target: BinaryIO, limit: int) -> bool:
        """Writes the object to `target`, going on where a dropped connection stopped. False where there is none.

        TooLarge as soon as it is longer than `limit` bytes.
        """

        def once() -> bool:
            at = target.tell()
            headers = {"Range": f"bytes={at}-"} if at else {}
            with self.rest.open("GET", self._media(name), ok=(404, 416), headers=headers) as response:
                if response.status == 404:
                    return False
                if response.status == 416:
                    return True  # everything had arrived
                if at and response.status != 206:
                    target.seek(0)
                    target.truncate()
                while part := response.read(1 << 20):
                    target.write(part)
                    if target.tell() > limit:
                        raise TooLarge(f"{name} is longer than {limit} bytes")
                if response.length:  # http.client ends early in silence when it is read in pieces
                    raise ConnectionError(f"{name}: the connection ended {response.length} bytes early")
            return True

        return self.rest.retrying(once)


class Blobs:
    """The blobs of one owner."""

    def __init__(self, bucket: Bucket, owner: str, home: Home) -> None:
        self._bucket = bucket
        self._owner = owner
        self._home = home

    def cached(self, blob: Blob, what: str) -> Path:
        """The blob's file, shared by all attempts on this worker: not to be changed."""
        path = self._home.blob(blob.sha256)
        if not path.exists():
            self.fetch(blob, what, path)
        return path

    def fetch(self, blob: Blob, what: str, path: Path) -> None:
        """Downloads to `path`. AttemptFailed when it is missing or is not what was uploaded."""
        name = paths.blob(self._owner, blob.sha256)
        where = f"gs://{self._bucket.name}/{name}"
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            with open(temporary, "w+b") as file:
                if not self._bucket.download(name, file, blob.size):
                    raise AttemptFailed(
                        "JobError", f"the job's {what} is missing in the bucket ({where}): submit again"
                    )
            if sha256_of(temporary) != blob.sha256:
                raise TooLarge
            temporary.replace(path)
        except TooLarge:
            raise AttemptFailed(
                "JobError",
                f"the job's {what} in the bucket is not what was uploaded: it was tampered with ({where} does not have "
                "the SHA-256 it is named by). Nothing of it was used. Check who can write to the bucket, then delete "
                "the object and submit again.",
            ) from None
        finally:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
