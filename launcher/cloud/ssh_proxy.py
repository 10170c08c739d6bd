"""A command that carries an SSH connection on its standard input and output, as OpenSSH's ProxyCommand does."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import threading

from launcher.cloud.seams import Target
from launcher.errors import ConnectError

_GRACE_S = 2.0
_LINES = 10


def iap_proxy_command(project: str, zone: str) -> str:
    """The proxy command that goes through Google's Identity-Aware Proxy, for workers without open ports."""
    options = ["--listen-on-stdin", f"--project={project}", f"--zone={zone}", "--verbosity=warning"]
    return shlex.join(["gcloud", "compute", "start-iap-tunnel", "%n", "%p", *options])


def arguments(target: Target) -> list[str]:
    """argv of the target's proxy command. %h, %p, %n and %% are replaced inside words; no shell reads it."""
    values = {"h": target.host, "p": str(target.port), "n": target.instance, "%": "%"}

    def value(match: re.Match[str]) -> str:
        found = values.get(match.group(1))
        if found is None:
            raise ConnectError(
                f"proxy_command of the profile: %{match.group(1)} is not known; there are %h (host), %p (port), "
                "%n (instance name) and %%."
            )
        if not found:
            raise ConnectError(
                f"{target.label}: the proxy command needs the instance's name (%n), and the worker's guest "
                "attributes have none. Check that guest attributes are not disabled for the project."
            )
        if found.startswith("-"):  # would be taken for an option of the command
            raise ConnectError(f"{target.label}: {found!r} cannot be a host or instance name.")
        return found

    try:
        words = shlex.split(target.proxy_command)
    except ValueError as exc:
        raise ConnectError(f"proxy_command of the profile: {exc}: {target.proxy_command}") from exc
    return [re.sub(r"%(.?)", value, word) for word in words]


class Proxy:
    """One running proxy command; `socket` is our end of it. `close` always ends and reaps the process."""

    def __init__(self, target: Target) -> None:
        argv = arguments(target) or [""]
        self.socket, theirs = socket.socketpair()
        try:
            # A session of its own: Ctrl-C in the terminal is for us to act on, and all of it can be ended.
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as exc:
            self.socket.close()
            raise ConnectError(
                f"{target.label}: the proxy command {argv[0]!r} is not installed, or cannot run: {exc.strerror}. "
                "Install it, or set connect or proxy_command in the profile."
            ) from exc
        finally:
            theirs.close()
        self._last: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._reader = threading.Thread(target=self._read_errors, name="ssh-proxy-errors", daemon=True)
        self._reader.start()

    def said(self) -> str:
        """The last lines of its standard error, complete where it has ended."""
        if self._process.poll() is not None:
            self._reader.join(_GRACE_S)
        return "\n".join(self._last)

    def ended(self, timeout_s: float) -> int | None:
        """Its exit status, where it ends within `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def close(self) -> None:
        """Closing its input is the sign to end; who does not heed it is ended."""
        self.socket.close()
        for sign, grace_s in ((signal.SIGTERM, 0.2), (signal.SIGKILL, _GRACE_S)):
            if self.ended(grace_s) is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
        self._process.wait()
        self._reader.join(_GRACE_S)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # for the type checker: it is a PIPE
        with self._process.stderr as stream:
            while line := stream.readline(4096):
                self._last.append(line.decode(errors="replace").rstrip())
