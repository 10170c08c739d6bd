"""What the client's connection talks to: it reads an attempt's files and writes frames, and may die at any time."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from launcher.agent import home as homes
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.processes import end_all
from launcher.records import frames
from launcher.records.frames import Frame

_LOG_BYTES = 256 << 10  # of log in one frame
_LOOK_S = 0.01  # how often the files are looked at: a few system calls
_ALIVE_S = 1.0  # how often the supervisor is checked to be alive


class Hangup(Exception):
    """The client is gone."""


class Output:
    """Frames to a descriptor, and whether anybody still reads them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, 0)  # asks only for what is always told: the reader hung up
        self.quiet_since = 0.0
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
        self.quiet_since = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Waits; Hangup as soon as the reader is gone."""
        if self._poll.poll(seconds * 1000):
            raise Hangup


def follow(job_id: str, attempt: int, offset: int) -> int:
    """Relays an attempt that was started before; an ERROR frame where there is none."""
    output = Output(1)
    folder = Home().attempt(job_id, attempt)
    if not folder.started.exists():
        output.send(frames.ERROR, f"this worker knows no attempt {attempt} of job {job_id}".encode())
        return 0
    return relay(folder, offset, output)


def relay(folder: AttemptFolder, offset: int, output: Output) -> int:
    """Phases, log from byte `offset` and heartbeats, until the attempt's end or the client's."""
    connected = homes.lock(folder.clients_lock, shared=True, wait=True)
    try:
        _relay(folder, offset, output)
    except Hangup:
        pass
    finally:
        if connected is not None:
            os.close(connected)
    return 0


def _relay(folder: AttemptFolder, offset: int, output: Output) -> None:
    events_at = 0
    checked = time.monotonic()
    while True:
        last = _last_frame(folder)  # looked for first: everything else was written before it
        lines, newline, _ = _read(folder.events, events_at, 1 << 20).rpartition(b"\n")
        events_at += len(lines) + len(newline)
        for line in lines.splitlines():
            output.send(frames.PHASE, line)
        while data := _read(folder.log, offset, _LOG_BYTES):
            output.send(frames.LOG, data, offset)
            offset += len(data)
        if last is not None:
            output.send(*last)
            return
        now = time.monotonic()
        if now - output.quiet_since >= frames.HEARTBEAT_S:
            output.send(frames.HEARTBEAT)
        if now - checked >= _ALIVE_S:
            checked = now
            if not folder.supervisor_alive() and _last_frame(folder) is None:
                said = homes.tail(folder.agent_log, 10)
                words = f"the job's supervisor on the worker died (reboot, out of memory or killed) {said}"
                output.send(frames.ERROR, words.encode())
                return
        output.pause(_LOOK_S)


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
    if not folder.ended.exists() and folder.mark.exists():  # the supervisor died and cannot do it
        end_all(folder.mark.read_text(), grace_s=1.0)
    return 0


def _tell(control: Path, line: bytes) -> bool:
    """Writes to a named pipe; False while nobody has it open for reading, as in a supervisor's first moments."""
    try:
        fd = os.open(control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(line)
    return True
