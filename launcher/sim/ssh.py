"""The SSH server of one simulated worker: keys from the node's metadata only, nothing but sessions."""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Callable, Mapping

import asyncssh

from launcher.sim.metadata import PeerAllowed
from launcher.sim.ssh_relay import Guest
from launcher.sim.ssh_session import WorkerSession

#: What OpenSSH, paramiko and asyncssh all have, fastest first: one connection costs one X25519 exchange.
_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256")
_KEEPALIVE_INTERVAL_S = 60
_LOGIN_TIMEOUT_S = 60
_BACKLOG = 256
#: Bytes a client may send ahead. With asyncssh's 2 MB the heap fragments: 190 MB more after 1 GB to a slow reader
#: (measured, glibc), against 22 MB with this, which is as fast on loopback.
_WINDOW_BYTES = 256 * 1024


def new_host_key() -> bytes:
    """A fresh ed25519 private key in OpenSSH's format."""
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh")


def public_half(host_key: bytes) -> str:
    """The base64 part of the public line of `host_key`, as guest attributes hold it."""
    return asyncssh.import_private_key(host_key).export_public_key("openssh").split()[1].decode()


def authorized(metadata: Mapping[str, str], user: str, public_data: bytes) -> bool:
    """Whether a line `user:TYPE BASE64 comment` of `ssh-keys` in the node's metadata holds this key."""
    for line in metadata.get("ssh-keys", "").splitlines():
        name, _, key = line.strip().partition(":")
        fields = key.split()
        if name == user and len(fields) >= 2:
            try:
                if base64.b64decode(fields[1], validate=True) == public_data:
                    return True
            except binascii.Error:
                continue  # a broken line lets nobody in, and keeps nobody else out
    return False


class SSHServer:
    """Listens for one worker."""

    def __init__(self, guest: Guest, metadata: Callable[[], Mapping[str, str]], peer_allowed: PeerAllowed) -> None:
        self._guest = guest
        self._metadata = metadata
        self._peer_allowed = peer_allowed
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, listening: socket.socket, host_key: bytes) -> None:
        """Serve on `listening` as the host of `host_key`."""
        self._acceptor = await asyncssh.listen(
            sock=listening,
            backlog=_BACKLOG,
            server_factory=self._login,
            server_host_keys=[asyncssh.import_private_key(host_key)],
            config=None,
            encoding=None,
            window=_WINDOW_BYTES,
            line_editor=False,
            x11_forwarding=False,
            agent_forwarding=False,
            gss_host=None,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            kex_algs=_KEX,
            encryption_algs=_CIPHERS,
            mac_algs=_MACS,
            compression_algs=("none",),
            keepalive_interval=_KEEPALIVE_INTERVAL_S,
            login_timeout=_LOGIN_TIMEOUT_S,
        )

    def change_host_key(self, host_key: bytes) -> None:
        """Be another host to everybody who connects from now on."""
        assert self._acceptor is not None
        self._acceptor.update(server_host_keys=[asyncssh.import_private_key(host_key)])

    def drop_connections(self) -> None:
        """Break every connection off, as a lost network does. Processes live on."""
        for connection in list(self._connections):
            connection.abort()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._acceptor is not None:
            self._acceptor.close()
        self.drop_connections()
        if self._acceptor is not None:
            await self._acceptor.wait_closed()

    def _login(self) -> _Login:
        return _Login(self._guest, self._metadata, self._peer_allowed, self._connections)


class _Login(asyncssh.SSHServer):
    """One client on its way in. Forwarding stays refused, as asyncssh does by default."""

    def __init__(
        self,
        guest: Guest,
        metadata: Callable[[], Mapping[str, str]],
        peer_allowed: PeerAllowed,
        connections: set[asyncssh.SSHServerConnection],
    ) -> None:
        self._guest = guest
        self._metadata = metadata
        self._peer_allowed = peer_allowed
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        peer, local = conn.get_extra_info("peername"), conn.get_extra_info("sockname")
        if not self._peer_allowed((peer[0], peer[1]), (local[0], local[1])):
            raise asyncssh.PermissionDenied("this simulator serves only the user who started it")
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True  # nobody gets in without a key

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return authorized(self._metadata(), username, key.public_data)

    def session_requested(self) -> WorkerSession:
        return WorkerSession(self._guest)
