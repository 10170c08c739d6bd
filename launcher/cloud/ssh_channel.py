"""An open SSH connection to one worker, and the commands that run on it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING

from launcher.cloud.retry import Deadline
from launcher.cloud.seams import SystemClock, Target
from launcher.cloud.ssh_proxy import Proxy
from launcher.errors import ConnectError

if TYPE_CHECKING:
    import paramiko

KEEPALIVE_S = 15.0
LOST_AFTER_S = 30.0  # a keepalive without an answer for so long: the connection is gone
_WINDOW = 8 << 20  # what the worker may send ahead, and so the most that waits here in memory
_PACKET = 1 << 15  # what every server must take
_STDERR_LIMIT = 64 << 10
_SETTLED_S = 0.2
_LOOK_S = 1.0  # how often somebody who waits looks whether the connection still lives


class SshTransport:
    """A Transport. Thread-safe. Owns the paramiko transport, its socket and its proxy process."""

    def __init__(self, transport: paramiko.Transport, sock: socket.socket, proxy: Proxy | None, target: Target) -> None:
        self.label = target.label
        self._transport = transport
        self._socket = sock
        self._proxy = proxy
        self._open_timeout_s = target.timeout_s
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="ssh-keepalive", daemon=True)
        self._keeper.start()

    def exec(self, command: str) -> SshChannel:
        """Runs `command` (the user's shell reads it). ConnectError where the connection is lost."""
        import paramiko

        try:
            channel = self._transport.open_session(_WINDOW, _PACKET, self._open_timeout_s)
            channel.exec_command(command.encode())
        except (paramiko.SSHException, OSError, EOFError) as exc:
            if not self.alive():
                raise self.lost() from exc
            raise ConnectError(
                f"{self.label}: the worker does not start a command: {exc or type(exc).__name__}.", transient=True
            ) from exc
        return SshChannel(channel, self)

    def alive(self) -> bool:
        """Whether the connection works, as far as its last keepalive tells."""
        return self._transport.is_active() and not self._closing.is_set()

    def close(self) -> None:
        """Ends connection, thread and proxy process. May be called again."""
        self._closing.set()
        self._abandon()
        if self._proxy is not None:
            self._proxy.close()
        self._keeper.join()

    def broke(self) -> bool:
        """Whether a channel that just closed did so because the connection broke."""
        self._transport.join(_SETTLED_S)  # its thread closes all channels a moment before it calls itself inactive
        return not self.alive()

    def lost(self) -> ConnectError:
        """The error for a connection that is gone."""
        said = self._proxy.said() if self._proxy is not None else ""
        why = "closed here" if self._closing.is_set() else str(self._transport.saved_exception or "lost")
        return ConnectError(
            f"{self.label}: the SSH connection was {why}.{_quoted(said)} The job runs on without it.", transient=True
        )

    def _abandon(self) -> None:
        # The socket first: a thread that hangs in a write to a dead peer holds locks that close() wants.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._transport.close()

    def _keep_alive(self) -> None:
        import paramiko

        while not self._closing.wait(KEEPALIVE_S) and self._transport.is_active():
            # Ending a dead connection wakes whoever waits on it, also inside paramiko where there is no timeout.
            watchdog = threading.Timer(LOST_AFTER_S, self._abandon)
            watchdog.daemon = True
            watchdog.start()
            try:  # every server answers, be it with a refusal; returns also when the connection ends
                self._transport.global_request("keepalive@openssh.com", wait=True)
            except (paramiko.SSHException, OSError, EOFError):
                return
            finally:
                watchdog.cancel()


class SshChannel:
    """A Channel: one running command. One thread may read while another writes."""

    def __init__(self, channel: paramiko.Channel, transport: SshTransport) -> None:
        self._channel = channel
        self._transport = transport
        self._errors = bytearray()
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        channel.settimeout(_LOOK_S)

    def write(self, data: bytes) -> None:
        """Sends all of `data` to the command's standard input, waiting while it does not read."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._channel.send(bytes(rest[:_PACKET])) :]
            except TimeoutError:
                self._take_errors()  # or both sides may wait for each other
            except OSError as exc:
                if not self._transport.alive():
                    raise self._transport.lost() from exc
                last = self.stderr().decode(errors="replace").strip()[-2000:]
                raise ConnectError(
                    f"{self._transport.label}: the command ended without reading its input.{_quoted(last)}"
                ) from exc

    def close_stdin(self) -> None:
        """The command reads the end of its input."""
        with contextlib.suppress(OSError, EOFError):  # it ended, or the connection did: reading tells
            self._channel.shutdown_write()

    def read(self, limit: int = 65536, timeout_s: float | None = None) -> bytes:
        """Standard output; b"" at its end. TimeoutError after `timeout_s`; ConnectError when it is lost."""
        deadline = Deadline(SystemClock(), timeout_s)
        while True:
            self._take_errors()
            ended = self._channel.eof_received or self._channel.closed  # before the look at the data: none comes after
            if self._channel.recv_ready():
                return self._receive(limit)
            if ended:
                self._take_errors()
                if not self._channel.eof_received and self._channel.exit_status == -1 and self._transport.broke():
                    raise self._transport.lost()
                return b""
            if deadline.expired:
                raise TimeoutError(f"{self._transport.label}: nothing was read within {timeout_s:g} s")
            self._poll.poll(1000 * min(_LOOK_S, deadline.remaining()) + 1)

    def stderr(self) -> bytes:
        """The last 64 KiB of standard error so far."""
        self._take_errors()
        with self._lock:
            return bytes(self._errors)

    def exit_status(self, timeout_s: float | None = None) -> int:
        """Exit status, -1 where a signal ended it. TimeoutError after `timeout_s`. Read to the end before."""
        deadline = Deadline(SystemClock(), timeout_s)
        while not self._channel.status_event.wait(min(_LOOK_S, deadline.remaining())):
            self._take_errors()
            if deadline.expired:
                raise TimeoutError(f"{self._transport.label}: the command did not end within {timeout_s:g} s")
        status: int = self._channel.exit_status
        if status == -1 and self._transport.broke():
            raise self._transport.lost()
        return status

    def close(self) -> None:
        """Lets go of the channel; what the command then does is its own affair."""
        self._channel.close()

    def _receive(self, limit: int) -> bytes:
        try:  # taking from the buffer may send a window update
            return self._channel.recv(limit)
        except (OSError, EOFError) as exc:
            raise self._transport.lost() from exc

    def _take_errors(self) -> None:
        # Unread standard error fills the window that standard output needs as well.
        with self._lock, contextlib.suppress(OSError, EOFError):  # lost: whoever reads or writes is told
            while self._channel.recv_stderr_ready():
                self._errors += self._channel.recv_stderr(_PACKET)
                del self._errors[:-_STDERR_LIMIT]


def _quoted(said: str) -> str:
    return f"\nIts last lines:\n{said}\n" if said else ""
