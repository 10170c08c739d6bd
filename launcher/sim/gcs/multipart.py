"""multipart/related (RFC 2387) read as a stream: the second part may be larger than memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message

from launcher.sim.gcs.errors import parse_error

_MAX_HEADER_BYTES = 16 << 10


def boundary_of(content_type: str) -> bytes:
    """The boundary in a Content-Type header. Raises GcsError 400 unless it is multipart/related with one."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str) or not boundary:
        raise parse_error(f"A multipart upload needs Content-Type multipart/related with a boundary: {content_type!r}")
    # gcloud puts it into single quotes, which Google takes for what they look like and RFC 2045 does not.
    quoted = len(boundary) > 2 and boundary[0] == boundary[-1] == "'"
    return (boundary[1:-1] if quoted else boundary).encode()


class MultipartReader:
    """The parts of a body, in order. Use: next_part(), then read() or stream() to its end, and so on."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._dashes = b"--" + boundary
        self._newline = b""  # known after the first delimiter: gcloud ends its lines with LF alone
        self._buffer = bytearray()

    @property
    def _delimiter(self) -> bytes:
        return self._newline + self._dashes

    async def next_part(self) -> Message:
        """The headers of the next part. Raises GcsError 400 where there is none."""
        if not self._newline:
            await self._until(self._dashes, _MAX_HEADER_BYTES)
            while not self._buffer:
                await self._more()
            self._newline = b"\n" if self._buffer.startswith(b"\n") else b"\r\n"
        block = await self._until(self._newline * 2, _MAX_HEADER_BYTES)
        headers = Message()
        lines = block.decode("latin-1").split(self._newline.decode())
        if lines[0].strip():
            raise parse_error("The multipart body has fewer parts than expected.")
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise parse_error(f"Bad header in a part: {line!r}")
            headers[name.strip()] = value.strip()
        return headers

    async def read(self, limit: int) -> bytes:
        """The whole part, at most `limit` bytes."""
        return await self._until(self._delimiter, limit)

    async def stream(self) -> AsyncIterator[bytes]:
        """The part's bytes as they come."""
        keep = len(self._delimiter) - 1
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                yield bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
            await self._more()
        yield bytes(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]

    async def end(self) -> None:
        """Raise GcsError 400 unless the part just read was the last."""
        while len(self._buffer) < 2:
            await self._more()
        if self._buffer[:2] != b"--":
            raise parse_error("The multipart body has more parts than expected.")

    async def _until(self, mark: bytes, limit: int) -> bytes:
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark))
            if searched > limit:
                raise parse_error(f"A part's header or metadata is longer than {limit} bytes.")
            await self._more()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise parse_error("The multipart body ends before its closing boundary.")
        self._buffer += chunk
