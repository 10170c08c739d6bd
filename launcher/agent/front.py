"""What the client's connection talks to: it reads an attempt's files and writes frames, and may die at any time."""

from __future__ import annotations

import errno
import os
import select
import time
from pathlib import Path

from launcher.agent import home as homes
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.log import tail
from launcher.agent.processes import end_all
from launcher.agent.timing import Clock, Timing
from launcher.records import frames
from launcher.records.frames import Frame

_LOG_BYTES = 256 << 10  # of log in one frame
_BUSY_S, _IDLE_S = 0.02, 0.1  # pauses between looks, while something happens and when nothing does
_ALIVE_S = 1.0  # how often the supervisor is checked to be alive


class Hangup(Exception):
    """The client is gone."""


class Output:
    """Frames to a descriptor, and whether anybody still reads them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, 0)  # asks only for what is always told: the reader hung up
        self.quiet_since = time.monotonic()
        self.raw(frames.MAGIC)

    def send(self, kind: bytes, body: bytes = b"", offset: int = 0) -> None:
        self.raw(frames.encode(Frame(kind, body[: frames.MAX_BODY], offset)))

    def raw(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as exc:
            if exc.errno in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
                raise Hangup from exc
            raise
        self.quiet_since = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Waits; Hangup as soon as the reader is gone."""
        if self._poll.poll(seconds * 1000):
            raise Hangup


def follow(job_id: str, attempt: int, offset: int) -> int:
    """Relays an attempt that was started before; an ERROR frame where there is none."""
    output = Output(1)
    folder = Home.default().attempt(job_id, attempt)
    if not folder.started.exists():
        output.send(frames.ERROR, f"this worker knows no attempt {attempt} of job {job_id}".encode())
        return 0
    return relay(folder, offset, output)


def relay(folder: AttemptFolder, offset: int, output: Output) -> int:
    """Phases, log from byte `offset` and heartbeats, until the attempt's end or the client's."""
    connected = homes.lock(folder.clients_lock, shared=True, wait=True)
    try:
        _Relay(folder, offset, output).run()
    except Hangup:
        pass
    finally:
        if connected is not None:
            os.close(connected)
    return 0


class _Relay:
    def __init__(self, folder: AttemptFolder, offset: int, output: Output) -> None:
        self._folder = folder
        self._offset = offset
        self._events_at = 0
        self._output = output

    def run(self) -> None:
        last_news = checked = time.monotonic()
        while True:
            last = self._last_frame()  # looked for first: everything else was written before it
            if self._news():
                last_news = time.monotonic()
            if last is not None:
                self._output.send(*last)
                return
            now = time.monotonic()
            if now - self._output.quiet_since >= frames.HEARTBEAT_S:
                self._output.send(frames.HEARTBEAT)
            if now - checked >= _ALIVE_S:
                checked = now
                if not self._folder.supervisor_alive() and self._last_frame() is None:
                    self._output.send(frames.ERROR, self._died().encode())
                    return
            self._output.pause(_BUSY_S if now - last_news < 2.0 else _IDLE_S)

    def _last_frame(self) -> tuple[bytes, bytes] | None:
        for kind, path in ((frames.OUTCOME, self._folder.outcome), (frames.ERROR, self._folder.error)):
            try:
                return kind, path.read_bytes()
            except FileNotFoundError:
                continue
        return None

    def _news(self) -> bool:
        """Sends whole lines of the events and whatever is new in the log; whether there was anything."""
        lines, whole, _ = _read(self._folder.events, self._events_at, 1 << 20).rpartition(b"\n")
        self._events_at += len(lines) + len(whole)
        for line in lines.splitlines():
            self._output.send(frames.PHASE, line)
        sent = bool(lines)
        while data := _read(self._folder.log, self._offset, _LOG_BYTES):
            self._output.send(frames.LOG, data, self._offset)
            self._offset += len(data)
            sent = True
        return sent

    def _died(self) -> str:
        said = tail(self._folder.agent_log, 10)
        return "the job's supervisor on the worker died (reboot, out of memory or killed) " + said


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def stop(job_id: str, attempt: int, reason: str) -> int:
    """Ends an attempt's processes and returns when they are gone. An attempt that is over is left alone."""
    folder = Home.default().attempt(job_id, attempt)
    clock = Clock()
    if not folder.started.exists():
        return 0
    try:
        control = os.open(folder.control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno not in (errno.ENXIO, errno.ENOENT):
            raise
    else:
        with os.fdopen(control, "wb") as pipe:
            pipe.write(" ".join(reason.split()).encode()[:2000] + b"\n")
    while not folder.ended.exists() and folder.supervisor_alive():
        clock.wait(_BUSY_S)
    if not folder.ended.exists() and folder.mark.exists():  # the supervisor died and cannot do it
        end_all(None, folder.mark.read_text(), grace_s=Timing().stray_grace_s, clock=clock)
    return 0
