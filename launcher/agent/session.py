"""A client's session: attempts from standard input one after another, and the lease kept between them."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from launcher.agent import home as homes
from launcher.agent import rest
from launcher.agent.control import Attempt, StopRequest, Timing, leads
from launcher.agent.custody import Alarm, Custody
from launcher.agent.front import Hangup, Output, end_orphans, relay
from launcher.agent.holding import Handover
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.launch import launch
from launcher.agent.link import FrontEnd, pair
from launcher.records import codec, frames
from launcher.records.spec import Spec

_MAX_SPEC = 64 << 20  # bytes
_LOOK_S = 0.05


class Client(Output):
    """Requests from standard input, frames to standard output. A signal that would end us is its hanging up."""

    def __init__(self) -> None:
        super().__init__(1)
        self._buffer = bytearray()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # a write of the lease goes on
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.readers = {0: self._receive, reader: self._hung_up}

    def _receive(self) -> None:
        data = os.read(0, 1 << 20)
        if not data:
            raise Hangup
        self._buffer += data

    def _hung_up(self) -> None:
        raise Hangup

    def request(self) -> bytes | None:
        """The next whole request, or None while there is none."""
        size = int.from_bytes(self._buffer[:8], "big")
        if size > _MAX_SPEC:
            self.send(frames.ERROR, f"a request of {size} bytes, the limit is {_MAX_SPEC}".encode())
            raise Hangup
        if len(self._buffer) < 8 + size or not self._buffer:
            return None
        data = bytes(self._buffer[8 : 8 + size])
        del self._buffer[: 8 + size]
        return data


class Session:
    """One thread, so that it can fork a supervisor at any moment."""

    def __init__(self, client: Client, home: Home, timing: Timing) -> None:
        self._client = client
        self._home = home
        self._timing = timing
        self._requests = 0
        self._why = "this session has not taken the lease over"
        alarm = Alarm()
        client.readers[alarm.reader] = alarm.drain
        self._custody = Custody(timing, self._released, alarm)

    def run(self) -> None:
        """Until the client is gone. An attempt that runs then goes on; a lease that is kept then is let go."""
        try:
            while True:
                self._custody.tend()
                data = self._client.request()
                if data is not None:
                    self._requests += 1
                    self._serve(data)
                else:
                    self._client.beat()
                    self._client.pause(frames.HEARTBEAT_S)
        except Hangup:
            self._custody.leave()

    def _released(self, words: str) -> None:
        """The offset tells the client which of its requests we had read when we said so."""
        self._why = words
        self._client.send(frames.RELEASED, words.encode(), self._requests)

    def _serve(self, data: bytes) -> None:
        """Starts the attempt, unless it was started before, and follows it from its log's beginning."""
        try:
            spec = codec.decode(Spec, data)
            folder = self._home.attempt(spec.job.job_id, spec.attempt)
        except ValueError as exc:
            self._client.send(frames.ERROR, f"the job's specification is damaged: {exc}".encode())
            return
        homes.folder(folder.path)
        link = None
        alive = homes.lock(folder.alive_lock)
        if alive is not None:
            try:
                if not folder.started.exists():
                    link = self._launch(spec, folder)
                    if link is None:
                        return
            finally:
                os.close(alive)  # the supervisor has inherited it
        self._follow(spec, folder, link)

    def _launch(self, spec: Spec, folder: AttemptFolder) -> FrontEnd | None:
        """None where the request was answered instead."""
        holding = None
        if leads(spec) and not spec.lease_token:
            holding = self._custody.offer()
            if holding is None:
                self._released(self._why)
                return None
        # An attempt that has just ended may still be recording that.
        give_up_at = time.monotonic() + self._timing.hand_over_s
        while (busy := homes.lock(self._home.worker_lock)) is None and time.monotonic() < give_up_at:
            self._client.pause(_LOOK_S)
        if busy is None:
            running = self._home.worker_lock.read_text() or "another attempt"
            self._client.send(frames.ERROR, f"this worker runs {running}: one attempt at a time".encode())
            return None
        self._custody.lend()
        rest.prepare(spec.storage_endpoint)
        front, supervisor = pair()
        launch(Attempt(spec, self._home, folder, self._timing, StopRequest(), holding, supervisor), busy, front)
        os.close(busy)
        supervisor.close()
        return front

    def _follow(self, spec: Spec, folder: AttemptFolder, link: FrontEnd | None) -> None:
        died = False
        try:
            last = relay(folder, 0, self._client, link)
            if link is not None and leads(spec):
                died = not folder.outcome.exists() and not folder.error.exists()
                # Before the client can ask for the next one.
                if folder.lease.exists() and link.accept():
                    self._custody.take(spec, codec.decode(Handover, folder.lease.read_bytes()))
        finally:
            if link is not None:
                link.close()
        try:
            self._client.send(*last)
        finally:
            if died:
                end_orphans(folder)
                self._custody.suspect(spec)
        if leads(spec) and self._custody.offer() is None:
            self._released("this session does not hold the lease after the job")


def run(timing: Timing | None) -> int:
    """Serves one client on standard input and output."""
    with contextlib.suppress(Hangup):  # before the first frame
        Session(Client(), Home(), timing or Timing()).run()
    return 0
