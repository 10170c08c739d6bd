"""Between an SSH channel and the process that it started: bytes, signals, and how either ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from launcher.sim.processes import Process, ProcessTree

SHELL = "/bin/sh"
#: What sshd exits with when it cannot start the command.
CANNOT_START = 255

#: Signals that RFC 4254 names; others end with a name of OpenSSH's own.
_STANDARD_SIGNALS = frozenset(
    ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
)


@dataclass(frozen=True)
class Guest:
    """What a login gets: the worker's processes, the home folder, and a user's environment."""

    tree: ProcessTree
    home: Path
    environment: Callable[[str], dict[str, str]]


class Relay:
    """Bytes, signals and the end between one SSH channel and one process, with backpressure both ways."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], guest: Guest) -> None:
        self._channel = channel
        self._guest = guest
        self._terminal = channel.get_terminal_type()
        self._input: asyncio.WriteTransport | None = None
        self._input_open = True
        self._early = b""  # at most one packet: reading stops until the command runs
        self._ended = False  # the client sent the end of its input
        self._outputs: list[asyncio.ReadTransport] = []
        self._output_paused = False
        self._drained: list[asyncio.Future[None]] = []
        self._closed = False
        self._process: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._tasks = {asyncio.create_task(self._run())}

    def feed(self, data: bytes) -> None:
        """Bytes for the command's stdin; dropped when it does not read them any more."""
        if self._input is not None:
            self._input.write(data)
        elif self._input_open:
            self._early += data
            self._channel.pause_reading()

    def feed_eof(self) -> None:
        """The end of stdin. A terminal has none: its user types Ctrl-D."""
        self._ended = True
        if self._input is not None and self._terminal is None:
            self._input.write_eof()

    def pause_output(self) -> None:
        """Leave what the command prints in its pipes until the client has taken what is under way."""
        self._output_paused = True
        for output in self._outputs:
            output.pause_reading()

    def resume_output(self) -> None:
        """Go on reading what the command prints."""
        self._output_paused = False
        for output in self._outputs:
            output.resume_reading()

    def send_signal(self, name: str) -> None:
        """Signal the command's process group, once it runs. Unknown names are ignored."""
        number = getattr(signal, f"SIG{name}", None)
        if isinstance(number, signal.Signals):
            task = asyncio.create_task(self._signal(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def resize(self) -> None:
        """Give the terminal the client's size."""
        if self._terminal is not None and self._input is not None:
            pipe = self._input.get_extra_info("pipe")
            columns, rows, width, height = self._channel.get_terminal_size()
            if pipe is not None and not pipe.closed:
                fcntl.ioctl(pipe, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))

    def close(self) -> None:
        """The channel is gone: the command's stdin ends, and nobody reads what it prints.

        It lives on, as under sshd; only the processes of a terminal get SIGHUP, from the kernel.
        """
        self._closed = True
        self._close_input()
        for output in self._outputs:
            output.close()

    def input_lost(self) -> None:
        """The command closed its stdin: take and drop what the client still sends."""
        self._input = None
        self._input_open = False
        self._channel.resume_reading()

    def _close_input(self) -> None:
        # When a pipe that is closing already is aborted, asyncio reports the loss twice and fails at that.
        if self._input is not None and not self._input.is_closing():
            self._input.abort()

    async def _run(self) -> None:
        try:
            process = await self._start()
        except OSError as error:
            self._process.cancel()
            self.close()
            with contextlib.suppress(OSError):
                self._channel.write_stderr(f"cannot start a process: {error}\n".encode())
            self._channel.exit(CANNOT_START)
            return
        self._process.set_result(process)
        code = await process.wait()
        # A background process that kept stdout open keeps the session open, as under sshd.
        await asyncio.gather(*self._drained)
        self._close_input()
        if code >= 0:
            self._channel.exit(code)
        else:
            name = signal.Signals(-code).name.removeprefix("SIG")
            self._channel.exit_with_signal(
                name if name in _STANDARD_SIGNALS else f"{name}@openssh.com", core_dumped=False
            )

    async def _start(self) -> Process:
        command = self._channel.get_command()
        argv = [SHELL] if command is None else [SHELL, "-c", command]
        environment = self._environment()
        with contextlib.ExitStack() as stack:
            if self._terminal is None:
                (stdin, feed), (output, stdout), (errors, stderr) = os.pipe(), os.pipe(), os.pipe()
                ours, theirs = [feed, output, errors], (stdin, stdout, stderr)
            else:
                master, slave = pty.openpty()
                environment |= {"TERM": self._terminal, "SSH_TTY": os.ttyname(slave)}
                ours, theirs = [master, os.dup(master)], (slave, slave, slave)
            for fd in set(theirs):
                stack.callback(os.close, fd)
            await self._connect(ours)
            return await self._guest.tree.spawn(
                argv,
                env=environment,
                cwd=self._guest.home,
                fds=theirs,
                tty=self._terminal is not None,
            )

    def _environment(self) -> dict[str, str]:
        connection = self._channel.get_connection()
        peer, local = connection.get_extra_info("peername"), connection.get_extra_info("sockname")
        return {
            **self._guest.environment(connection.get_extra_info("username")),
            "SSH_CLIENT": f"{peer[0]} {peer[1]} {local[1]}",
            "SSH_CONNECTION": f"{peer[0]} {peer[1]} {local[0]} {local[1]}",
        }

    async def _connect(self, ours: list[int]) -> None:
        """Take over our ends: the first feeds stdin, the others bring stdout and stderr (or the terminal)."""
        loop = asyncio.get_running_loop()
        for fd, datatype in zip(ours[1:], (None, asyncssh.EXTENDED_DATA_STDERR), strict=False):
            done = loop.create_future()
            self._drained.append(done)
            output = functools.partial(_Output, self._channel, datatype, done)
            reader, _ = await loop.connect_read_pipe(output, os.fdopen(fd, "rb", 0))
            self._outputs.append(reader)
            if self._output_paused:
                reader.pause_reading()
        self._input, _ = await loop.connect_write_pipe(lambda: _Input(self, self._channel), os.fdopen(ours[0], "wb", 0))
        self.resize()
        if self._early:
            self._input.write(self._early)
            self._early = b""
        if self._ended:
            self.feed_eof()
        if self._closed:
            self.close()
        else:
            self._channel.resume_reading()

    async def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            process = await self._process
            await process.send_signal(number)


class _Input(asyncio.BaseProtocol):
    """The command's stdin: when its pipe is full, the client is not asked for more."""

    def __init__(self, relay: Relay, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._relay = relay
        self._channel = channel

    def pause_writing(self) -> None:
        self._channel.pause_reading()

    def resume_writing(self) -> None:
        # Not from inside this call: asyncio loses what is written here when the end of input comes with it
        # (_UnixWritePipeTransport._write_ready closes with a buffer that this call filled).
        asyncio.get_running_loop().call_soon(self._channel.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.input_lost()


class _Output(asyncio.Protocol):
    """The command's stdout or stderr."""

    def __init__(
        self, channel: asyncssh.SSHServerChannel[bytes], datatype: int | None, done: asyncio.Future[None]
    ) -> None:
        self._channel = channel
        self._datatype = datatype
        self._done = done

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the client closed the channel a moment ago
            self._channel.write(data, self._datatype)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)
