"""Downloads: alt=media with ranges, and decompression of gzip objects for clients that do not take gzip."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from launcher.sim.gcs.call import Call
from launcher.sim.gcs.errors import GcsError
from launcher.sim.gcs.model import Preconditions, StoredObject, integer
from launcher.sim.gcs.resources import media_headers

_BLOCK_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS


async def download(call: Call, bucket: str, name: str) -> Response:
    stored, file = await run_in_threadpool(
        call.store.open,
        bucket,
        name,
        generation=integer(call.query, "generation"),
        preconditions=Preconditions.parse(call.query),
    )
    try:
        return _answer(call, stored, file)
    except GcsError:
        file.close()
        raise


def _answer(call: Call, stored: StoredObject, file: BinaryIO) -> Response:
    headers = media_headers(stored)
    encoding = stored.fields.get("contentEncoding")
    if encoding == "gzip":
        headers["vary"] = "Accept-Encoding"
        if _must_decompress(call, stored):
            # The length is unknown beforehand, and a range is ignored, as Google does.
            headers["warning"] = "214 UploadServer gunzipped"
            return _FileResponse(file, _gunzip(file), 200, headers)
    if encoding:
        headers["content-encoding"] = encoding
    headers["accept-ranges"] = "bytes"
    span = _parse_range(call.headers.get("range"), stored.size)
    first, last = span or (0, stored.size - 1)
    headers["content-length"] = str(last - first + 1)
    if span is not None:
        headers["content-range"] = f"bytes {first}-{last}/{stored.size}"
    return _FileResponse(file, _blocks(file, first, last - first + 1), 206 if span else 200, headers)


def _must_decompress(call: Call, stored: StoredObject) -> bool:
    accepted = call.headers.get("accept-encoding", "")
    return "gzip" not in accepted and "no-transform" not in stored.fields.get("cacheControl", "")


def _parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte, or None for all: a malformed range is ignored (RFC 9110). Raises GcsError 416."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        start, end = max(size - length, 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size:
        raise GcsError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            location=("header", "Range"),
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


def _blocks(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length > 0 and (block := file.read(min(length, _BLOCK_BYTES))):
        length -= len(block)
        yield block


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """The decompressed bytes in blocks of bounded size, however well they were compressed."""
    decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
    while not decoder.eof and (block := decoder.unconsumed_tail or file.read(_BLOCK_BYTES)):
        yield decoder.decompress(block, _BLOCK_BYTES)


class _FileResponse(StreamingResponse):
    """Streams from an open file and closes it, also when the client is gone before the first byte."""

    def __init__(self, file: BinaryIO, blocks: Iterator[bytes], code: int, headers: dict[str, str]) -> None:
        super().__init__(blocks, code, headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()
