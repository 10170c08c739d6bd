"""The simulator's listening socket, and who has the port when it is taken."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

_LISTENING = "0A"


class PortError(Exception):
    """The port cannot be listened on; the message names it and says what to do."""


def listen(port: int) -> socket.socket:
    """A socket listening on 127.0.0.1:`port`; 0 takes a free one. Raises PortError."""
    # With the protocol named asyncio switches TCP_NODELAY on: without it every answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Without this a restart on the same port has to wait for old connections to time out.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortError(_explanation(port, error)) from error
    return listener


def _explanation(port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        by = f" by {holder}" if (holder := _holder(port)) else ""
        return f"port {port} of 127.0.0.1 is taken{by}; stop that, or choose another port (--port 0: a free one)"
    reason = error.strerror if isinstance(error, OSError) else "ports go from 0 to 65535"
    return f"cannot listen on port {port} of 127.0.0.1: {reason}; choose another port (--port 0: a free one)"


def _holder(port: int) -> str | None:
    """The process listening on `port`, as `name (pid N)`, where it can be seen (Linux, own processes)."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            links = {os.readlink(link) for link in (process / "fd").iterdir()}
            if not inodes.isdisjoint(links):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # another user's, or it ended meanwhile
            continue
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[1].endswith(f":{port:04X}") and columns[3] == _LISTENING:
                inodes.add(f"socket:[{columns[9]}]")
    return inodes
