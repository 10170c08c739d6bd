"""The job's log: from the runner's pipe to a file, and from the file to the bucket."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from launcher.agent.bucket import Bucket
from launcher.agent.control import AgentError
from launcher.agent.rest import HttpError, Unreachable

CHUNK_BYTES = 1 << 20
_MAX_INTERVAL_S = 10.0  # reached after ten minutes: a log of a day is thousands of objects, not a hundred thousand
_DRAIN_S = 5.0  # for what holds the pipe open although it was killed


class Log:
    """Copies a pipe, byte for byte, to the log file and, chunk by chunk, to the bucket: the first bytes at once, then
    what there is each `interval_s` (slower in time), or CHUNK_BYTES. Objects are named by their first byte's offset."""

    def __init__(
        self, path: Path, bucket: Bucket, name: Callable[[int], str], interval_s: float, ring: Callable[[], None]
    ) -> None:
        self._path = path
        self._bucket = bucket
        self._name = name
        self._interval_s = interval_s
        self._ring = ring  # whenever there is more in the file
        self._started = time.monotonic()
        self._sent = 0
        self._closing = False
        self._more = threading.Event()  # something to do at once
        self._full = threading.Event()  # no pause is worth keeping: a whole chunk is there, or it is the end
        self._error: HttpError | AgentError | None = None
        self._uploader = threading.Thread(target=self._upload, name="log-upload", daemon=True)
        self._pump: threading.Thread | None = None
        self.size = 0
        path.touch()
        self._uploader.start()

    def pipe(self) -> int:
        """The end of a new pipe that is to be written to, and closed, by the caller."""
        reader, writer = os.pipe()
        self._pump = threading.Thread(target=self._copy, args=(reader,), name="log-pump", daemon=True)
        self._pump.start()
        return writer

    def _copy(self, reader: int) -> None:
        with open(self._path, "ab", buffering=0) as file, open(reader, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                file.write(data)
                self.size += len(data)
                self._ring()
                if self.size - self._sent >= CHUNK_BYTES:
                    self._full.set()
                self._more.set()

    def finish(self) -> None:
        """After the last writer of the pipe: its bytes are in the file on return, and on their way to the bucket."""
        if self._pump is not None:
            self._pump.join(_DRAIN_S)
        self._closing = True
        self._full.set()
        self._more.set()

    def close(self, patience_s: float | None) -> None:
        """Returns when every byte is in the bucket. HttpError where the bucket refuses them for good, Unreachable
        where `patience_s` did not suffice."""
        self.finish()
        self._uploader.join(patience_s)
        if self._uploader.is_alive():
            raise Unreachable(f"the log is not in the bucket after {patience_s} s")
        if self._error is not None:
            raise self._error

    def _upload(self) -> None:
        try:
            with open(self._path, "rb") as file:
                while True:
                    self._more.wait()
                    self._more.clear()
                    closing = self._closing  # read first: what was written before it is sent below
                    while self._sent < self.size:
                        data = file.read(CHUNK_BYTES)
                        self._bucket.create(self._name(self._sent), data)  # None: an earlier try of ours arrived
                        self._sent += len(data)
                        self._pause()
                    if closing:
                        return
        except (HttpError, AgentError) as exc:
            self._error = exc

    def _pause(self) -> None:
        if self.size - self._sent < CHUNK_BYTES and not self._closing:
            self._full.clear()
            if not self._closing:  # again: it sets _full after itself
                slower_s = min((time.monotonic() - self._started) / 60, _MAX_INTERVAL_S)
                self._full.wait(max(self._interval_s, slower_s))
