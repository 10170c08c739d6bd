"""A small SSH server that runs commands with /bin/sh, and a TCP relay that can go silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import paramiko


class Sshd:
    """Serves on 127.0.0.1:`port` in a process of its own, and answers what is asked of it line by line."""

    def __init__(self, client_public_key: str, kind: str = "ssh-ed25519") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cloud.sshd", client_public_key, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        ready = self._answer()
        self.port: int = ready["port"]
        self.host_keys: dict[str, str] = ready["host_keys"]
        self.fingerprint: str = ready["fingerprint"]

    def drop(self) -> None:
        """Ends every connection without a word."""
        self._ask("drop")

    def users(self) -> list[str]:
        """Who tried to log in since the last time."""
        found: list[str] = self._ask("users")["users"]
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


async def _serve(client_public_key: str, kind: str) -> None:
    key = asyncssh.generate_private_key(kind)
    users: list[str] = []
    connections: list[asyncssh.SSHServerConnection] = []

    class Login(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            users.append(username)
            return True

    server = await asyncssh.create_server(
        Login,
        "127.0.0.1",
        0,
        server_host_keys=[key],
        authorized_client_keys=asyncssh.import_authorized_keys(client_public_key),
        process_factory=_run,
        encoding=None,
        line_editor=False,
    )
    name, text = key.export_public_key("openssh").decode().split()[:2]
    _say({"port": server.get_port(), "host_keys": {name: text}, "fingerprint": key.get_fingerprint()})
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if line == b"drop\n":
            for connection in connections:
                connection.abort()
        _say({"users": users})
        users.clear()


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    feeding = asyncio.create_task(_feed(process, child))
    await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
    status = await child.wait()
    feeding.cancel()
    if status < 0:
        process.exit_with_signal("KILL")
    else:
        process.exit(status)


async def _pump(source: Any, sink: Any) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    with contextlib.suppress(ConnectionError, asyncssh.BreakReceived):
        await _pump(process.stdin, child.stdin)
    child.stdin.close()


class SilentRelay:
    """Forwards TCP to `port` until `go_silent`; then both ends see an open connection that says nothing."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def go_silent(self) -> None:
        self._silent.set()

    def close(self) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            ours, _ = self._listener.accept()
            theirs = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [ours, theirs]
            for source, sink in ((ours, theirs), (theirs, ours)):
                thread = threading.Thread(target=self._pump, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._silent.is_set():
                    sink.sendall(data)


@contextlib.contextmanager
def listening(answer: bytes = b"") -> Iterator[int]:
    """A port where somebody accepts, says `answer`, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    connection.sendall(answer)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


@contextlib.contextmanager
def hanging() -> Iterator[tuple[int, dict[str, str]]]:
    """Port and host keys of a server that lets everybody in and hangs as soon as a command is to start."""
    ended = threading.Event()

    class Hangs(paramiko.ServerInterface):
        def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
            return paramiko.AUTH_SUCCESSFUL

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return paramiko.OPEN_SUCCEEDED

        def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
            ended.wait()
            return False

    key = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        servers: list[paramiko.Transport] = []

        def serve() -> None:
            connection, _ = listener.accept()
            servers.append(paramiko.Transport(connection))
            servers[0].add_server_key(key)
            servers[0].start_server(threading.Event(), Hangs())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], {key.get_name(): key.get_base64()}
        finally:
            ended.set()
            thread.join()
            servers[0].close()


def write_key(folder: Path) -> tuple[Path, str]:
    """A fresh client key: its file and its public line."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path = folder / "id_ed25519"
    key.write_private_key(path)
    return path, key.export_public_key("openssh").decode()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
