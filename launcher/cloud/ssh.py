"""SSH to one worker: directly or through a proxy command, to exactly the machine whose host key is known."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import socket
from typing import TYPE_CHECKING

from launcher.cloud.retry import Deadline
from launcher.cloud.seams import SystemClock, Target
from launcher.cloud.ssh_channel import SshTransport
from launcher.cloud.ssh_proxy import Proxy, iap_proxy_command
from launcher.errors import ConnectError

if TYPE_CHECKING:
    import paramiko

__all__ = ["SshConnector", "fingerprint", "iap_proxy_command"]

# Host key algorithms by key type, where the names differ.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_KERNEL_GIVES_UP_MS = 45_000
_FORBIDDEN = re.compile(r"\b4033\b|not authorized|active account|reauth", re.IGNORECASE)


class SshConnector:
    """A Connector. Thread-safe; paramiko is imported at the first connection.

    Uses the target's key file and nothing else: no agent, no password, no forwarding, no known_hosts file.
    """

    def connect(self, target: Target) -> SshTransport:
        """An open connection. ConnectError names worker and step; `transient` where waiting may help."""
        import paramiko

        # Without a handler Python would print the library's own tracebacks.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        attempt = _Attempt(target)
        try:
            sock = attempt.open()
            transport = attempt.handshake(sock)
            attempt.check_host_key(transport)
            attempt.authenticate(transport)
            return SshTransport(transport, sock, attempt.proxy, target)
        except (paramiko.SSHException, OSError, EOFError) as exc:
            error = attempt.failure(exc)
            attempt.close()
            raise error from exc
        except BaseException:
            attempt.close()
            raise


class _Attempt:
    """One try to connect, step by step; `step` is the one that is under way."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.step = "connect"
        self.proxy: Proxy | None = None
        self._deadline = Deadline(SystemClock(), target.timeout_s)
        self._to_close: list[socket.socket | paramiko.Transport] = []

    def open(self) -> socket.socket:
        target = self.target
        if not target.host_keys:
            raise ConnectError(
                f"{target.label}: its host keys are not known, so it cannot be told from an impostor. "
                "Nothing was sent to it."
            )
        if target.proxy_command:
            self.proxy = Proxy(target)
            return self.proxy.socket
        sock = socket.create_connection((target.host, target.port), self._remaining())
        self._to_close.append(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: else a write to a dead peer hangs for 15 minutes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _KERNEL_GIVES_UP_MS)
        return sock

    def handshake(self, sock: socket.socket) -> paramiko.Transport:
        import paramiko

        self.step = "handshake"
        transport = paramiko.Transport(sock)
        self._to_close.insert(0, transport)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = self._remaining()
        options = transport.get_security_options()
        wanted = [name for kind in self.target.host_keys for name in _ALGORITHMS.get(kind, (kind,))]
        usable = tuple(name for name in options.key_types if name in wanted)
        if not usable:
            raise ConnectError(
                f"{self.target.label}: its host keys are of kinds that are not supported here: "
                f"{', '.join(self.target.host_keys)}."
            )
        options.key_types = usable
        transport.start_client(timeout=self._remaining())
        if not transport.initial_kex_done:  # start_client returns in silence when its time is up
            raise TimeoutError("timed out")
        return transport

    def check_host_key(self, transport: paramiko.Transport) -> None:
        shown = transport.get_remote_server_key()
        kind, text = shown.get_name(), shown.get_base64()
        known = self.target.host_keys.get(kind, "")
        if known.split()[:1] == [text]:  # a comment may follow the key
            return
        where = f"{self.target.label} ({self.target.host}:{self.target.port})"
        raise ConnectError(
            f"{where} shows another host key than the one it is known by.\n"
            f"  known: {kind} {fingerprint(known)}\n  shown: {kind} {fingerprint(text)}\n"
            "Either the machine was set up anew, or somebody else answers in its place. Nothing was sent to it. "
            "Delete the node (launcher nodes down NODE) and start again on a new one; where this comes again, "
            "tell who runs your network."
        )

    def authenticate(self, transport: paramiko.Transport) -> None:
        import paramiko

        self.step = "authentication"
        try:
            key = paramiko.Ed25519Key.from_private_key_file(self.target.key_file)
        except (OSError, paramiko.SSHException) as exc:
            raise ConnectError(f"The SSH key {self.target.key_file} cannot be used: {exc}.") from exc
        if transport.auth_publickey(self.target.user, key):
            raise ConnectError(f"{self.target.label}: it wants more than an SSH key, which is not supported.")

    def failure(self, exc: BaseException) -> ConnectError:
        """The error for what went wrong in the present step."""
        target, said = self.target, ""
        if self.proxy is not None:
            status = self.proxy.ended(0.5)
            said = self.proxy.said()
            ended = f"the proxy command ended with status {status}" if status is not None else "through a proxy"
            said = f"\n{ended}{': ' if said else ''}{said}"
        if isinstance(exc, socket.gaierror):
            self.step = "resolve"
        final = isinstance(exc, socket.gaierror) and exc.errno != socket.EAI_AGAIN
        lines = str(exc).strip().splitlines() or [type(exc).__name__]
        return ConnectError(
            f"{target.label} ({target.host}:{target.port}): {self.step} failed: {lines[0].rstrip('.')}. "
            f"{self._advice(exc)}{said}",
            transient=not final and not _FORBIDDEN.search(said),
        )

    def _advice(self, exc: BaseException) -> str:
        if self.step == "resolve":
            return "Check the host's name and this machine's name service."
        if self.step == "authentication":
            return (
                f"The worker does not accept the key {self.target.key_file} for user {self.target.user} (yet): "
                "a key takes up to a minute to arrive; if it stays so, look at ssh-keys in the node's metadata."
            )
        if self.proxy is not None:
            return "Check that the proxy command works and that you may use it (IAP: roles/iap.tunnelResourceAccessor)."
        if isinstance(exc, TimeoutError):
            return (
                f"Check that a firewall rule lets port {self.target.port} in from here; without one, set "
                'connect = "iap" in the profile.'
            )
        return "The worker may still be starting its SSH server."

    def _remaining(self) -> float:
        return max(0.1, self._deadline.remaining())

    def close(self) -> None:
        for each in self._to_close:
            each.close()
        if self.proxy is not None:
            self.proxy.close()


def fingerprint(base64_key: str) -> str:
    """A public key's SHA-256 as OpenSSH shows it."""
    try:
        raw = base64.b64decode(base64_key.split()[0], validate=True)
    except (IndexError, ValueError):
        return "unreadable"
    return f"SHA256:{base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip('=')}"
