"""The job's log: from the runner's pipe to a file, and from the file to the bucket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from launcher.agent.bucket import Bucket
from launcher.agent.failures import AgentError
from launcher.agent.rest import HttpError, Unreachable
from launcher.agent.timing import Clock

CHUNK_BYTES = 1 << 20
_DRAIN_S = 5.0  # for what holds the pipe open although it was killed


class Uploader:
    """Writes what is added to the log to the bucket: the first bytes at once, then a chunk each `interval_s` or when
    CHUNK_BYTES are there. Objects are named by the offset of their first byte."""

    def __init__(
        self, bucket: Bucket, name: Callable[[int], str], log: Path, *, interval_s: float, clock: Clock
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._size = 0
        self._closing = False
        self._more = threading.Event()  # something to do at once
        self._full = threading.Event()  # no pause is worth keeping: a whole chunk is there, or it is the end
        self._error: HttpError | AgentError | None = None
        self._sent = 0
        self._thread = threading.Thread(target=self._run, name="log-upload", daemon=True)
        self._thread.start()

    def added(self, size: int) -> None:
        """The log has `size` bytes now."""
        self._size = size
        if size - self._sent >= CHUNK_BYTES:
            self._full.set()
        self._more.set()

    def close(self, patience_s: float | None = None) -> None:
        """Returns when every byte is in the bucket. HttpError where the bucket refuses them for good, Unreachable
        where `patience_s` did not suffice."""
        self._closing = True
        self._full.set()
        self._more.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            raise Unreachable(f"the log is not in the bucket after {patience_s} s")
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with open(self._log, "rb") as file:
                while True:
                    self._clock.wait(3600.0, self._more)
                    self._more.clear()
                    closing = self._closing
                    while self._sent < self._size:
                        self._send(file.read(CHUNK_BYTES))
                        if self._size - self._sent < CHUNK_BYTES:
                            self._full.clear()
                            if not self._closing:
                                self._clock.wait(self._interval_s, self._full)
                    if closing:
                        return
        except (HttpError, AgentError) as exc:
            self._error = exc

    def _send(self, data: bytes) -> None:
        # None: an earlier try of this one writer arrived, and its answer was lost.
        self._bucket.create(self._name(self._sent), data)
        self._sent += len(data)


class Pump:
    """Copies a pipe, byte for byte, to the end of the log file, and tells `added` the file's new size."""

    def __init__(self, source: int, log: Path, added: Callable[[int], None]) -> None:
        self._source = source
        self._log = log
        self._added = added
        self.size = log.stat().st_size if log.exists() else 0
        self._thread = threading.Thread(target=self._run, name="log-pump", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits until the last writer of the pipe is gone and its bytes are in the file."""
        self._thread.join(_DRAIN_S)

    def _run(self) -> None:
        with open(self._log, "ab", buffering=0) as file, open(self._source, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                file.write(data)
                self.size += len(data)
                self._added(self.size)


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file, "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - 65536, 0))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
