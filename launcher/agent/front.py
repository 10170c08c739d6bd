"""What the client's connection talks to: it reads an attempt's files and writes frames, and may die at any time."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from launcher.agent import home as homes
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.link import FrontEnd
from launcher.agent.processes import end_all
from launcher.records import frames
from launcher.records.frames import Frame

_LOG_BYTES = 256 << 10  # of log in one frame
_LOOK_S = 0.01  # how often the files are looked at where nobody rings: a few system calls
_ALIVE_S = 1.0  # how often the supervisor is checked to be alive there


class Hangup(Exception):
    """The client is gone."""


class Output:
    """Frames to a descriptor, and whether anybody still reads them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.readers: dict[int, Callable[[], None]] = {}  # what is called when these can be read
        self._quiet_since = 0.0
        self._write(frames.MAGIC)

    def send(self, kind: bytes, body: bytes = b"", offset: int = 0) -> None:
        self._write(frames.encode(Frame(kind, body[: frames.MAX_BODY], offset)))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except ConnectionError as exc:  # EPIPE and ECONNRESET
            raise Hangup from exc
        self._quiet_since = time.monotonic()

    def beat(self) -> None:
        """Tells that this end lives, where it has said nothing for HEARTBEAT_S."""
        if time.monotonic() - self._quiet_since >= frames.HEARTBEAT_S:
            self.send(frames.HEARTBEAT)

    def pause(self, seconds: float, link: FrontEnd | None = None) -> None:
        """Waits, less long where `link` or a reader has something; Hangup as soon as the client is gone."""
        poll = select.poll()
        poll.register(self._fd, 0)  # asks only for what is always told: the reader hung up
        for fd in (*self.readers, *([link.fileno()] if link is not None else [])):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(seconds * 1000)]
        if self._fd in ready:
            raise Hangup
        for fd in ready:
            if fd in self.readers:
                self.readers[fd]()


def follow(job_id: str, attempt: int, offset: int) -> int:
    """Relays an attempt that was started before; an ERROR frame where there is none."""
    try:
        output = Output(1)
        folder = Home().attempt(job_id, attempt)
        if not folder.started.exists():
            output.send(frames.ERROR, f"this worker knows no attempt {attempt} of job {job_id}".encode())
            return 0
        output.send(*relay(folder, offset, output))
    except Hangup:
        pass
    return 0


def relay(folder: AttemptFolder, offset: int, output: Output, link: FrontEnd | None = None) -> tuple[bytes, bytes]:
    """Phases, log from byte `offset` and heartbeats, until the attempt's end. Its last frame is left to the caller."""
    connected = homes.lock(folder.clients_lock, shared=True, wait=True)
    try:
        return _relay(folder, offset, output, link)
    finally:
        if connected is not None:
            os.close(connected)


def _relay(folder: AttemptFolder, offset: int, output: Output, link: FrontEnd | None) -> tuple[bytes, bytes]:
    events_at = 0
    checked = time.monotonic()
    while True:
        alive = link is None or link.drain()  # first: what rings while the rest is read rings again
        last = _last_frame(folder)  # before the log: everything else was written before it
        lines, newline, _ = _read(folder.events, events_at, 1 << 20).rpartition(b"\n")
        events_at += len(lines) + len(newline)
        for line in lines.splitlines():
            output.send(frames.PHASE, line)
        while data := _read(folder.log, offset, _LOG_BYTES):
            output.send(frames.LOG, data, offset)
            offset += len(data)
        if last is not None:
            return last
        if link is None and time.monotonic() - checked >= _ALIVE_S:
            checked = time.monotonic()
            alive = folder.supervisor_alive() or _last_frame(folder) is not None
        if not alive:
            said = homes.tail(folder.agent_log, 10)
            words = f"the job's supervisor on the worker died (reboot, out of memory or killed) {said}"
            return frames.ERROR, words.encode()
        output.beat()
        output.pause(_LOOK_S if link is None else frames.HEARTBEAT_S, link)


def _last_frame(folder: AttemptFolder) -> tuple[bytes, bytes] | None:
    for kind, path in ((frames.OUTCOME, folder.outcome), (frames.ERROR, folder.error)):
        if path.exists():
            return kind, path.read_bytes()
    return None


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def stop(job_id: str, attempt: int, reason: str) -> int:
    """Ends an attempt's processes and returns when they are gone. An attempt that is over is left alone."""
    folder = Home().attempt(job_id, attempt)
    if not folder.started.exists():
        return 0
    told = False
    while not folder.ended.exists() and folder.supervisor_alive():
        told = told or _tell(folder.control, " ".join(reason.split()).encode()[:2000] + b"\n")
        time.sleep(_LOOK_S)
    end_orphans(folder)
    return 0


def end_orphans(folder: AttemptFolder) -> None:
    """Ends what a supervisor that died has left behind."""
    if not folder.ended.exists() and folder.mark.exists():
        end_all(folder.mark.read_text(), grace_s=1.0)


def _tell(control: Path, line: bytes) -> bool:
    """Writes to a named pipe; False while nobody has it open for reading, as in a supervisor's first moments."""
    try:
        fd = os.open(control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(line)
    return True
