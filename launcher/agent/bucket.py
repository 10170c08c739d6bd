"""One GCS bucket over the JSON API. Every write states its precondition."""

from __future__ import annotations

import datetime
import email.utils
import json
import os
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode

from launcher.agent.rest import HttpError, Rest
from launcher.records.paths import new_token
from launcher.records.swap import Stored

_CHUNK = 8 << 20  # bytes in memory at a time; a resumable upload needs multiples of 256 KiB


class TooLarge(Exception):
    """An object is larger than it may be."""


class Bucket:
    """Reads and writes with the retries of its Rest. HttpError, Unreachable and Stopped come from there."""

    def __init__(self, rest: Rest, endpoint: str, bucket: str) -> None:
        self._rest = rest
        self._endpoint = endpoint.rstrip("/")
        self.bucket = bucket

    def _object(self, name: str, **query: str) -> str:
        url = f"{self._endpoint}/storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(name, safe='')}"
        return f"{url}?{urlencode(query)}" if query else url

    def _upload(self, **query: str) -> str:
        return f"{self._endpoint}/upload/storage/v1/b/{quote(self.bucket, safe='')}/o?{urlencode(query)}"

    def read(self, name: str) -> Stored | None:
        """The object with its generation and times, or None where there is none."""
        while True:
            answer = self._rest.send("GET", self._object(name), ok=(404,))
            if answer.status == 404:
                return None
            facts = answer.json()
            url = self._object(name, alt="media", generation=str(facts["generation"]))
            content = self._rest.send("GET", url, ok=(404,))
            if content.status == 404:
                continue  # replaced between the two requests
            date = email.utils.parsedate_to_datetime(answer.headers["Date"])
            return Stored(content.body, int(facts["generation"]), _epoch(str(facts["updated"])), date.timestamp())

    def create(self, name: str, data: bytes) -> int | None:
        """Writes with ifGenerationMatch=0. The new generation, or None where the object exists."""
        return self.replace(name, data, 0)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        """Writes with ifGenerationMatch=generation. The new generation, or None when somebody else wrote."""
        boundary = new_token()
        head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': name})}\r\n"
        head += f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        answer = self._rest.send(
            "POST",
            self._upload(uploadType="multipart", ifGenerationMatch=str(generation)),
            data=head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            ok=(412,),
        )
        return None if answer.status == 412 else int(answer.json()["generation"])

    def download(self, name: str, target: BinaryIO, limit: int) -> bool:
        """Writes the object to `target`, going on where a dropped connection stopped. False where there is none.

        TooLarge as soon as it is longer than `limit` bytes.
        """

        def once() -> bool:
            at = target.tell()
            try:
                response = self._rest.open(
                    "GET", self._object(name, alt="media"), headers={"Range": f"bytes={at}-"} if at else {}
                )
            except HttpError as exc:
                if exc.code == 404:
                    return False
                if exc.code == 416 and at:
                    return True  # everything had arrived
                raise
            with response:
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

        return self._rest.retrying(once)

    def upload_file(self, name: str, path: Path) -> None:
        """Creates the object (ifGenerationMatch=0) from a file of any size, with bounded memory.

        An object that exists under the name is taken for this upload's own, whose answer was lost: the name must
        have this one writer.
        """
        size = path.stat().st_size
        with open(path, "rb") as file:
            if size <= _CHUNK:
                self.create(name, file.read())
                return
            while not self._upload_session(name, file, size):
                pass  # GCS forgot the session: a new one starts from the beginning

    def _upload_session(self, name: str, file: BinaryIO, size: int) -> bool:
        answer = self._rest.send(
            "POST",
            self._upload(uploadType="resumable", name=name, ifGenerationMatch="0"),
            data=b"{}",
            headers={"Content-Type": "application/json", "X-Upload-Content-Length": str(size)},
            ok=(412,),
        )
        if answer.status == 412:
            return True
        session, at = answer.headers["Location"], 0
        while True:
            received = self._put_chunk(session, file, at, size)
            if received is None:
                return True
            if received < 0:
                return False
            at = received

    def _put_chunk(self, session: str, file: BinaryIO, at: int, size: int) -> int | None:
        """Sends a piece; how many bytes GCS has then, None when it has all, -1 when it forgot the session."""
        state = {"asked": False}

        def once() -> int | None:
            if state["asked"]:  # an earlier try failed: what arrived of it?
                data, span = b"", f"bytes */{size}"
            else:
                state["asked"] = True
                file.seek(at)
                data = file.read(_CHUNK)
                span = f"bytes {at}-{at + len(data) - 1}/{size}"
            try:
                with self._rest.open("PUT", session, data=data, headers={"Content-Range": span}) as response:
                    response.read()
                    return None
            except HttpError as exc:
                if exc.code == 308:
                    received = exc.headers.get("Range", "")
                    return int(received.rpartition("-")[2]) + 1 if received else 0
                if exc.code == 412:
                    return None
                if exc.code in (404, 410):
                    return -1
                raise

        return self._rest.retrying(once)


def _epoch(stamp: str) -> float:
    """Seconds of an RFC 3339 time in UTC; Python 3.10 cannot read its `Z`, nor any number of decimals."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    moment = datetime.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)


def free_bytes(path: Path) -> int:
    """What can still be written on the disk of `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
