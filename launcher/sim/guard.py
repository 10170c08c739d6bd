"""Who may talk to the simulator: the user who started it, from this machine, and no web page."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from launcher.sim.http import google_error

#: (address, port) of one end of a connection.
End = tuple[str, int]

#: The key of a request's scope with what breaks its connection off.
HANG_UP = "simulator.hang_up"

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED = "0000000000000000FFFF0000"  # an IPv4 address in the IPv6 table


def peers_can_be_checked() -> bool:
    """Whether this system tells which user owns the other end of a connection (Linux does)."""
    return _TABLES[0].exists()


def peer_is_same_user(peer: End, local: End, tables: Sequence[Path] = _TABLES) -> bool:
    """Whether the process that connected from `peer` to `local` belongs to this user.

    True for everyone where the system does not tell; `start` says so there. `tables`: the kernel's lists of
    TCP sockets, version 4 and 6.
    """
    if not tables[0].exists():
        return True
    return _owner(peer, local, tables) == os.getuid()


def _owner(peer: End, local: End, tables: Sequence[Path]) -> int | None:
    """The user id of the socket at `peer` that is connected to `local`; None when there is none."""
    here, there = _hexadecimal(peer), _hexadecimal(local)
    for table, prefix in zip(tables, ("", _MAPPED), strict=True):
        if not table.exists():  # a kernel without IPv6
            continue
        wanted = [prefix + here, prefix + there]
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[1:3] == wanted:
                return int(columns[7])
    return None


def _hexadecimal(end: End) -> str:
    # The kernel prints the address as one number in the machine's byte order.
    number = int.from_bytes(socket.inet_aton(end[0]), sys.byteorder)
    return f"{number:08X}:{end[1]:04X}"


class GuardedProtocol(HttpToolsProtocol):
    """HTTP that hangs up on another user's connection before a byte of it is read."""

    def connection_made(self, transport: Any) -> None:  # uvicorn types it as a plain asyncio.Transport
        """Accept the connection only when the peer is this user."""
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not peer_is_same_user(peer[:2], local[:2]):
            transport.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            transport.abort() if not peer else transport.close()
            self._refused = True
            return
        self._refused = False
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """A request begins: whoever answers it may hang up instead."""
        super().on_message_begin()
        self.scope[HANG_UP] = self.transport.abort  # type: ignore[literal-required]  # uvicorn's type lists its own keys

    def data_received(self, data: bytes) -> None:
        """Drop what a refused peer sends."""
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing was set up for a refused peer."""
        if not self._refused:
            super().connection_lost(exc)

    def eof_received(self) -> None:
        """Nothing to do in either case."""


class Guard:
    """ASGI middleware that refuses browsers (Origin) and names other than loopback (DNS rebinding)."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http" and (reason := self._refusal(scope)) is not None:
            await google_error(403, reason, "PERMISSION_DENIED")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if any(name == b"origin" for name, _ in headers):
            return "The simulator does not serve web pages: requests with an Origin header are refused."
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            shown = ", ".join(host.decode("latin-1") for host in hosts) or "none"
            return f"The simulator serves 127.0.0.1 and localhost only; the Host header is {shown!r}."
        return None
