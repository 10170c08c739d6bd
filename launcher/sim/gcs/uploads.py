"""Uploads: media, multipart, and the resumable protocol."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from launcher.sim.gcs.call import Call, parse_document
from launcher.sim.gcs.content import Content, ContentWriter
from launcher.sim.gcs.errors import GcsError, invalid, required
from launcher.sim.gcs.model import Preconditions, StoredObject, writable_fields
from launcher.sim.gcs.multipart import MultipartReader, boundary_of
from launcher.sim.gcs.resources import object_resource
from launcher.sim.gcs.sessions import Session

# A session keeps whole quanta of a chunk that is not the last; a shorter chunk is refused.
QUANTUM_BYTES = 256 << 10
_WRITE_BYTES = 1 << 20
_MAX_METADATA_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")


async def insert(call: Call, bucket: str) -> Response:
    """POST /upload/…/o: one of the three kinds of upload."""
    match call.query.get("uploadType"):
        case "media":
            return await _insert_media(call, bucket)
        case "multipart":
            return await _insert_multipart(call, bucket)
        case "resumable":
            return await _begin(call, bucket)
        case None:
            raise required("uploadType")
        case other:
            raise invalid(f"Invalid value for uploadType: {other!r}", parameter="uploadType")


async def _insert_media(call: Call, bucket: str) -> Response:
    document = _with_content_type({}, call.headers.get("content-type"))
    name = await _check_start(call, bucket, document)
    return await _insert_stream(call, bucket, name, document, call.body)


async def _insert_multipart(call: Call, bucket: str) -> Response:
    reader = MultipartReader(call.body, boundary_of(call.headers.get("content-type", "")))
    await reader.next_part()
    document = parse_document(await reader.read(_MAX_METADATA_BYTES))
    part = await reader.next_part()
    document = _with_content_type(document, part["Content-Type"])
    name = await _check_start(call, bucket, document)

    async def media() -> AsyncIterator[bytes]:
        async for block in reader.stream():
            yield block
        await reader.end()

    return await _insert_stream(call, bucket, name, document, media())


async def _insert_stream(
    call: Call, bucket: str, name: str, document: dict[str, Any], stream: AsyncIterator[bytes]
) -> Response:
    writer = await run_in_threadpool(call.store.writer)
    try:
        await _pump(stream, writer)
        stored = await run_in_threadpool(_commit, call, bucket, name, document, call.query, writer)
    finally:
        await run_in_threadpool(writer.discard)
    return call.json(object_resource(stored, call.base_url))


async def _begin(call: Call, bucket: str) -> Response:
    """Open a resumable session; its URI is in the Location header."""
    document = _with_content_type(await call.document(), call.headers.get("x-upload-content-type"))
    name = await _check_start(call, bucket, document)
    length = call.headers.get("x-upload-content-length")
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise invalid(f"Invalid X-Upload-Content-Length: {length!r}")
    total = int(length) if length is not None else None
    session = await run_in_threadpool(call.sessions.create, bucket, name, document, call.query, total)
    location = f"{call.base_url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session.id}"
    return Response(status_code=200, headers={"location": location, "x-guploader-uploadid": session.id})


async def resume(call: Call) -> Response:
    """PUT to a session URI: a chunk, the rest, or the question how much has arrived."""
    session = await run_in_threadpool(call.sessions.get, _upload_id(call))
    async with session.lock:
        if session.result is None:
            await _receive(call, session)
    if session.result is None:
        return _incomplete(session)
    return call.json(object_resource(session.result, call.base_url))


async def cancel(call: Call) -> Response:
    """DELETE of a session URI; 499 is Google's answer to a cancelled upload."""
    session = await run_in_threadpool(call.sessions.get, _upload_id(call))
    async with session.lock:
        if session.result is None:
            await run_in_threadpool(call.sessions.discard, session)
    return Response(status_code=499)


@dataclass(frozen=True)
class _Range:
    """A Content-Range: byte positions, inclusive; None for `*`."""

    first: int | None
    last: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str | None) -> _Range:
        if header is None:
            return cls(0, None, None)
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if match is None:
            raise invalid(f"Failed to parse Content-Range header: {header!r}")
        first, last = (int(text) if text else None for text in match.group(1, 2))
        total = None if match.group(3) == "*" else int(match.group(3))
        if first is not None and last is not None and (last < first or (total is not None and last >= total)):
            raise invalid(f"Invalid Content-Range: {header!r}")
        return cls(first, last, total)


async def _receive(call: Call, session: Session) -> None:
    """Take what a PUT brings; with the last byte the object is made and `session.result` set."""
    sent = _Range.parse(call.headers.get("content-range"))
    if sent.total is not None and session.total not in (None, sent.total):
        raise invalid(f"The upload was announced with {session.total} bytes, Content-Range says {sent.total}.")
    writer = await run_in_threadpool(call.sessions.writer, session)
    if sent.first is None:
        await call.drain()
    elif sent.first > writer.size:
        raise invalid(f"The chunk begins at byte {sent.first}, but only {writer.size} bytes have arrived.")
    else:
        await _receive_chunk(call, session, sent, writer)
    has_rest = sent.first is not None and sent.last is None
    if has_rest or (sent.total is not None and writer.size == sent.total):
        await _finish(call, session, writer)


async def _receive_chunk(call: Call, session: Session, sent: _Range, writer: ContentWriter) -> None:
    """Append a chunk, skipping bytes that had arrived before; a refused one leaves the session as it was."""
    before = writer.size
    counter = _Counter(call.body, skip=before - (sent.first or 0))
    try:
        await _pump(counter.stream(), writer)
    except ClientDisconnect:
        await run_in_threadpool(_keep_quanta, writer, before)
        raise
    if sent.first is not None and sent.last is not None:
        expected = sent.last - sent.first + 1
    else:
        expected = counter.received if session.total is None else session.total
    is_end = sent.last is None or sent.last + 1 == sent.total
    if counter.received != expected:
        problem = f"Content-Range announces {expected} bytes, {counter.received} arrived."
    elif not is_end and counter.received < QUANTUM_BYTES:
        problem = f"A chunk that is not the last needs {QUANTUM_BYTES} bytes or more, got {counter.received}."
    else:
        if not is_end:
            await run_in_threadpool(_keep_quanta, writer, before)
        await run_in_threadpool(writer.close)
        return
    await run_in_threadpool(writer.truncate, before)
    raise invalid(problem)


async def _finish(call: Call, session: Session, writer: ContentWriter) -> None:
    """Make the object. A wrong hash or a failed precondition ends the session."""
    try:
        args = (session.bucket, session.name, session.document, session.query, writer)
        result = await run_in_threadpool(_commit, call, *args)
    except GcsError:
        await run_in_threadpool(call.sessions.discard, session)
        raise
    await run_in_threadpool(call.sessions.finish, session, result)


def _commit(
    call: Call,
    bucket: str,
    name: str,
    document: dict[str, Any],
    query: Mapping[str, str],
    writer: ContentWriter,
) -> StoredObject:
    content: Content = writer.finish()
    content.verify(md5=document.get("md5Hash"), crc32c=document.get("crc32c"))
    header = _header_hashes(call.headers.get("x-goog-hash"))
    content.verify(md5=header.get("md5"), crc32c=header.get("crc32c"))
    fields = writable_fields(document)
    if "contentEncoding" in query:
        fields["contentEncoding"] = query["contentEncoding"]
    return call.store.commit(bucket, name, content, fields, Preconditions.parse(query))


def _header_hashes(header: str | None) -> dict[str, str]:
    """X-Goog-Hash: `crc32c=…,md5=…`. Raises GcsError 400."""
    hashes = {}
    for item in (header or "").split(","):
        label, equals, value = item.strip().partition("=")
        if header and (label not in ("crc32c", "md5") or not equals):
            raise invalid(f"Invalid X-Goog-Hash: {header!r}")
        hashes[label] = value
    return hashes


def _with_content_type(document: dict[str, Any], content_type: str | None) -> dict[str, Any]:
    """The media's own Content-Type counts where the metadata has none."""
    return {"contentType": content_type} | document if content_type else document


async def _check_start(call: Call, bucket: str, document: dict[str, Any]) -> str:
    """The object's name; raises before the bytes come what commit would raise after them."""
    name = call.query.get("name", document.get("name"))
    if not isinstance(name, str) or not name:
        raise required("name")
    writable_fields(document)
    for field in ("md5Hash", "crc32c"):
        if not isinstance(document.get(field, ""), str):
            raise invalid(f"Invalid value for field: {field}")
    await run_in_threadpool(call.store.check_insert, bucket, name, Preconditions.parse(call.query))
    return name


async def _pump(stream: AsyncIterator[bytes], writer: ContentWriter) -> None:
    """Write the stream in blocks from a thread: hashing 5 GB must not hold up the event loop."""
    pending: list[bytes] = []
    pending_bytes = 0
    try:
        async for chunk in stream:
            pending.append(chunk)
            pending_bytes += len(chunk)
            if pending_bytes >= _WRITE_BYTES:
                await run_in_threadpool(writer.write, b"".join(pending))
                pending, pending_bytes = [], 0
    finally:
        await run_in_threadpool(writer.write, b"".join(pending))


class _Counter:
    """Counts a body's bytes and leaves out the first `skip`."""

    def __init__(self, body: AsyncIterator[bytes], *, skip: int) -> None:
        self.received = 0
        self._body = body
        self._skip = skip

    async def stream(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            start = max(0, self._skip - self.received)
            self.received += len(chunk)
            yield chunk[start:]


def _keep_quanta(writer: ContentWriter, at_least: int) -> None:
    writer.truncate(max(at_least, writer.size - writer.size % QUANTUM_BYTES))
    writer.close()


def _incomplete(session: Session) -> Response:
    size = session.writer.size if session.writer else 0
    headers = {"range": f"bytes=0-{size - 1}"} if size else {}
    return Response(status_code=308, headers=headers)


def _upload_id(call: Call) -> str:
    upload_id = call.query.get("upload_id")
    if upload_id is None:
        raise required("upload_id")
    return upload_id
