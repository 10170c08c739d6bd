"""Talk to the agent on one worker: start an attempt, follow it from any log byte, stop it."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.cloud.seams import Channel, Transport
from launcher.errors import Cancelled, ConnectError
from launcher.records import codec, frames
from launcher.records.boot import BOOT
from launcher.records.frames import Frame
from launcher.records.spec import Spec

SILENCE_S = 30.0  # six heartbeats: after this the connection counts as lost
_SLICE_S = 0.25  # how soon a cancel is noticed while nothing arrives
_HANDSHAKE_S = 60.0


@dataclass(frozen=True)
class AgentFile:
    """The agent's archive as it travels: one zipapp, named by its hash."""

    sha256: str
    data: bytes


class AgentLink:
    """One agent command on an open transport. Frames come until the stream ends; one thread at a time."""

    def __init__(self, channel: Channel, label: str, leftover: bytes) -> None:
        self._channel = channel
        self._label = label
        self._decoder = frames.Decoder()
        self._data = leftover

    def frames(self, cancel: threading.Event | None = None) -> Iterator[Frame]:
        """Frames as they come; may be left and taken up again. ConnectError (transient) when the connection is lost
        or silent, Cancelled."""
        silent_s = 0.0
        while True:
            yield from self._decoded()
            if cancel is not None and cancel.is_set():
                raise Cancelled("cancelled while the job ran")
            try:
                self._data = self._channel.read(timeout_s=_SLICE_S)
            except TimeoutError:
                silent_s += _SLICE_S
                if silent_s >= SILENCE_S:
                    raise ConnectError(f"{self._label} sent nothing for {SILENCE_S:g} s", transient=True) from None
                continue
            silent_s = 0.0
            if not self._data:
                self._ended()
                return

    def pending(self) -> Iterator[Frame]:
        """Frames that have arrived already."""
        with contextlib.suppress(TimeoutError):
            while True:
                yield from self._decoded()
                self._data = self._channel.read(timeout_s=0.0)
                if not self._data:
                    raise ConnectError(f"the agent's session on {self._label} ended", transient=True)

    def send(self, spec: Spec) -> None:
        """The next attempt of a session. Starting what was started before is following it from its log's beginning."""
        body = codec.encode(spec)
        self._channel.write(len(body).to_bytes(8, "big") + body)

    def close(self) -> None:
        self._channel.close()

    def _decoded(self) -> Iterator[Frame]:
        data, self._data = self._data, b""
        try:
            yield from self._decoder.feed(data)
        except ValueError as exc:
            raise ConnectError(f"{self._label} sent something that is not the agent's: {exc}") from exc

    def _ended(self) -> None:
        status = self._channel.exit_status(timeout_s=5.0)
        if status != 0:
            said = (self._decoder.unframed + self._channel.stderr()).decode(errors="replace").strip()
            raise ConnectError(
                f"the agent on {self._label} ended with status {status}: {said[-2000:] or 'no message'}",
                transient=status == -1,
            )


def session(transport: Transport, agent: AgentFile, label: str) -> AgentLink:
    """Opens a session: attempts are sent to it one after another. Its end tells the agent that the client is gone."""
    return _open(transport, agent, ["session"], label, more=True)


def follow(transport: Transport, agent: AgentFile, job_id: str, attempt: int, offset: int, label: str) -> AgentLink:
    """Frames of an attempt that was started before, its log from byte `offset`."""
    return _open(transport, agent, ["follow", job_id, str(attempt), str(offset)], label)


def stop(transport: Transport, agent: AgentFile, job_id: str, attempt: int, reason: str, label: str) -> None:
    """Ends an attempt's processes; returns when they are gone."""
    with contextlib.closing(_open(transport, agent, ["stop", job_id, str(attempt), reason], label)) as link:
        for _ in link.frames():
            pass


def _open(transport: Transport, agent: AgentFile, mode: list[str], label: str, *, more: bool = False) -> AgentLink:
    size = str(len(agent.data))
    channel = transport.exec(shlex.join(["python3", "-I", "-S", "-c", BOOT, agent.sha256, size, *mode]))
    try:
        answer, leftover = _first_line(channel, label)
        if answer == b"want":
            channel.write(agent.data)
        if not more:
            channel.close_stdin()
    except BaseException:
        channel.close()
        raise
    return AgentLink(channel, label, leftover)


def _first_line(channel: Channel, label: str) -> tuple[bytes, bytes]:
    """The boot line `have` or `want`, whatever a login shell printed before it, and the bytes after it."""
    data = b""
    while True:
        *lines, rest = data.split(b"\n")
        for index, line in enumerate(lines):
            if line in (b"have", b"want"):
                return line, b"\n".join([*lines[index + 1 :], rest])
        try:
            more = channel.read(timeout_s=_HANDSHAKE_S)
        except TimeoutError:
            raise ConnectError(f"{label} did not start the agent within {_HANDSHAKE_S:g} s", transient=True) from None
        if not more:
            said = (data + channel.stderr()).decode(errors="replace").strip()
            raise ConnectError(f"{label} cannot start the agent: {said[-2000:] or 'no message'}. Is python3 there?")
        data += more
