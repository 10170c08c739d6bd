"""One SSH session on a simulated worker: sftp and scp by the library, a command or shell as a process."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from launcher.sim.ssh_relay import Guest, Relay

_SFTP_VERSION = 3  # OpenSSH's


class _HomeSFTPServer(asyncssh.SFTPServer):
    """Relative paths start in the worker's home folder; absolute ones are the machine's, as on a VM."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        return posixpath.join(self._home, path)

    def exit(self) -> None:
        # Without an exit status OpenSSH's scp takes a copy for failed. The scp server sends its own.
        if self.channel.get_subsystem() is not None:
            self.channel.exit(0)


class WorkerSession(SSHServerStreamSession[bytes]):
    """A session before anyone knows what it is for."""

    _chan: asyncssh.SSHServerChannel[bytes]

    def __init__(self, guest: Guest) -> None:
        super().__init__(None, self._sftp_server, _SFTP_VERSION, allow_scp=True)
        self._guest = guest
        self._relay: Relay | None = None

    def _sftp_server(self, channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
        return _HomeSFTPServer(cast("asyncssh.SSHServerChannel[bytes]", channel), self._guest.home)

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def session_started(self) -> None:
        command = self._chan.get_command()
        if self._chan.get_subsystem() is not None or (command is not None and command.startswith("scp ")):
            super().session_started()
        else:
            self._relay = Relay(self._chan, self._guest)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if self._relay is None:
            super().data_received(data, datatype)
        else:
            self._relay.feed(data)

    def eof_received(self) -> bool:
        if self._relay is None:
            return bool(super().eof_received())
        self._relay.feed_eof()
        return True  # the command may still answer

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._relay is not None:
            self._relay.pause_output()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._relay is not None:
            self._relay.resume_output()

    def signal_received(self, signal: str) -> None:
        if self._relay is not None:
            self._relay.send_signal(signal)

    def break_received(self, msec: int) -> bool:
        return False

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._relay is not None:
            self._relay.resize()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._relay is not None:
            self._relay.close()
