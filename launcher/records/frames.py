"""The frames that an agent writes to standard output, and their decoder.

A stream starts with MAGIC (whatever a login shell printed before it is skipped), then frames:
kind (1 byte), offset (8 bytes), length (4 bytes), body. Big-endian.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

MAGIC = b"\x00launcher-frames-1\n"
LOG = b"L"  # body: log bytes, offset: position of the first in the whole log
PHASE = b"P"  # body: WorkerStatus as JSON, at each phase change
HEARTBEAT = b"H"  # body: empty, each HEARTBEAT_S while nothing else is sent
OUTCOME = b"O"  # body: Outcome as JSON; the last frame of an ended attempt
ERROR = b"E"  # body: text: the agent itself cannot go on (no such attempt, busy, bad spec)
# body: text: the session does not hold the lease (any more); nothing runs. offset: how many requests it had read
RELEASED = b"R"
HEARTBEAT_S = 5.0

_HEADER = struct.Struct(">cQI")
MAX_BODY = 1 << 20


@dataclasses.dataclass(frozen=True)
class Frame:
    kind: bytes
    body: bytes
    offset: int = 0


def encode(frame: Frame) -> bytes:
    """One frame as bytes. The body may hold MAX_BODY bytes at most."""
    if len(frame.body) > MAX_BODY:
        raise ValueError(f"frame body of {len(frame.body)} bytes, the limit is {MAX_BODY}")
    return _HEADER.pack(frame.kind, frame.offset, len(frame.body)) + frame.body


class Decoder:
    """Turns a byte stream, in pieces of any size, into frames. Raises ValueError on garbage after MAGIC."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        if not self._started:
            at = self._buffer.find(MAGIC)
            if at < 0:
                return
            del self._buffer[: at + len(MAGIC)]  # before it: a shell's banner or error message
            self._started = True
        while len(self._buffer) >= _HEADER.size:
            kind, offset, length = _HEADER.unpack_from(self._buffer)
            if kind not in (LOG, PHASE, HEARTBEAT, OUTCOME, ERROR, RELEASED) or length > MAX_BODY:
                raise ValueError(f"not a frame: kind {kind!r}, length {length}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield Frame(kind, body, offset)

    @property
    def unframed(self) -> bytes:
        """Bytes that came without MAGIC so far: what to show when the agent never spoke."""
        return b"" if self._started else bytes(self._buffer)
