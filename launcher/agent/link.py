"""What joins a session's front and the supervisor that it started: a bell, an answer, and whether the other lives."""

from __future__ import annotations

import contextlib
import select
import socket

_ACCEPTED = b"A"


class FrontEnd:
    """The front's end. To be closed when the attempt is over."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def drain(self) -> bool:
        """Forgets that the bell rang. False when the supervisor is gone."""
        try:
            return self._end.recv(65536, socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def accept(self) -> bool:
        """Takes what the supervisor offered; False where it has withdrawn it or is gone."""
        try:
            return self._end.send(_ACCEPTED) == 1
        except OSError:
            return False

    def close(self) -> None:
        self._end.close()


class SupervisorEnd:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def ring(self) -> None:
        """There is something new in the attempt's files."""
        with contextlib.suppress(OSError):  # a full buffer rings already
            self._end.send(b"\0", socket.MSG_DONTWAIT)

    def alive(self) -> bool:
        """Whether the front is there."""
        try:
            return self._end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def accepted(self, timeout_s: float) -> bool:
        """Whether the front took what was offered. Once this said no, it cannot any more."""
        select.select([self._end], [], [], timeout_s)
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RD)  # what was sent before can still be read
            return self._end.recv(1, socket.MSG_DONTWAIT) == _ACCEPTED
        return False

    def close(self) -> None:
        self._end.close()


def pair() -> tuple[FrontEnd, SupervisorEnd]:
    one, other = socket.socketpair()
    return FrontEnd(one), SupervisorEnd(other)
