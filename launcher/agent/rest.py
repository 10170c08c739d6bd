"""HTTP to Google's APIs with the worker's own identity: tokens from the metadata server, retries with back-off."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import http.client
import json
import math
import os
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import BinaryIO, NamedTuple, TypeVar

from launcher.agent import clock
from launcher.agent.control import AgentError, StopRequest

T = TypeVar("T")
Headers = Mapping[str, str]

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0
_REUSE_S = 2.0  # a connection that was idle for longer may be closed at the other end
_BLOCK = 1 << 20  # bytes of an upload in memory at a time
_local = threading.local()  # .open: this thread's connections, and when each was used last


class HttpError(Exception):
    """An answer that no retry mends. `code` is the HTTP status."""

    def __init__(self, method: str, url: str, code: int, body: bytes) -> None:
        self.code = code
        words = body.decode(errors="replace").strip()
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not Google's JSON: shown as it is
            words = str(json.loads(body)["error"]["message"])
        super().__init__(f"{method} {url.partition('?')[0]}: HTTP {code}: {words[:500]}")


class Unreachable(Exception):
    """No usable answer within the caller's patience."""


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads all certificates of the machine: once


def prepare(url: str) -> None:
    """What requests to `url` need and takes long, so that a process forked from this one has it."""
    if url.startswith("https:"):
        _tls()


def forget_connections() -> None:
    """Closes this thread's. In a forked process they are the parent's too, where they stay open."""
    for connection, _ in _local.__dict__.pop("open", {}).values():
        connection.close()


def _connect(scheme: str, host: str, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http":  # the metadata server and simulators: no proxy leads there
        return http.client.HTTPConnection(host, timeout=timeout_s, blocksize=_BLOCK)
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if proxy:
        import urllib.request  # slow to load

        if not urllib.request.proxy_bypass(host):
            through = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc
            connection = http.client.HTTPSConnection(through, timeout=timeout_s, context=_tls(), blocksize=_BLOCK)
            connection.set_tunnel(host)
            return connection
    return http.client.HTTPSConnection(host, timeout=timeout_s, context=_tls(), blocksize=_BLOCK)


@contextlib.contextmanager
def _opened(
    method: str, url: str, headers: Headers, data: BinaryIO | None, timeout_s: float
) -> Iterator[http.client.HTTPResponse]:
    """The answer, its body unread. Redirects are not followed: a token must not go there."""
    parts = urllib.parse.urlsplit(url)
    key = (parts.scheme, parts.netloc, timeout_s)
    kept: dict[tuple[str, str, float], tuple[http.client.HTTPConnection, float]]
    kept = _local.__dict__.setdefault("open", {})
    connection, used = kept.pop(key) if key in kept else (_connect(*key), math.inf)
    if time.monotonic() - used > _REUSE_S:
        connection.close()  # opens itself again
    try:
        try:
            connection.request(method, urllib.parse.urlunsplit(("", "", *parts[2:])), data, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:  # else it may have answered without reading everything
                raise
        response = connection.getresponse()
        yield response
        if not response.isclosed():
            response.read()
    except BaseException:
        connection.close()
        raise
    kept[key] = (connection, time.monotonic())


def retry(
    once: Callable[[], T], patience_s: float, stop: StopRequest | None = None, on_401: Callable[[], None] | None = None
) -> T:
    """`once`, again and again with growing, random pauses while its failure may mend (429, 5xx, dropped connections).

    Unreachable after `patience_s`, Stopped after a stop request. `on_401` gets one chance to mend a refused token.
    """
    give_up_at = time.monotonic() + patience_s
    delay_s = _FIRST_DELAY_S
    stop = stop or StopRequest()
    while True:
        stop.check()
        try:
            return once()
        except HttpError as exc:
            if exc.code == 401 and on_401 is not None:
                on_401()
                on_401 = None
                continue
            if exc.code not in _RETRIED:
                raise
            failure: Exception = exc
        except (OSError, http.client.HTTPException) as exc:  # timeouts and TLS errors are OSErrors
            if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:  # of the file that is written
                raise
            failure = exc
        pause_s = delay_s * random.uniform(0.5, 1.0)
        if time.monotonic() + pause_s > give_up_at:
            raise Unreachable(str(failure)) from failure
        stop.event.wait(pause_s)
        delay_s = min(delay_s * 2, _MAX_DELAY_S)


class Metadata:
    """The metadata server of this worker. Thread-safe; tokens are kept until shortly before they expire."""

    def __init__(self, patience_s: float) -> None:
        host = os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP") or "metadata.google.internal"
        self._root = f"http://{host}/computeMetadata/v1/instance/"
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = -math.inf

    def _get(self, path: str) -> bytes:
        def once() -> bytes:
            with _opened("GET", self._root + path, {"Metadata-Flavor": "Google"}, None, 10.0) as response:
                body = response.read()
                if response.status != 200:
                    raise HttpError("GET", self._root + path, response.status, body)
                return body

        try:
            return retry(once, self._patience_s)
        except (Unreachable, HttpError) as exc:
            raise AgentError(
                f"no metadata server answers at {self._root}{path} ({exc}): the agent needs the worker's own "
                "identity. It runs on a TPU VM, or on a simulated worker, with a service account attached."
            ) from exc

    def token(self) -> str:
        """An access token. AgentError when no metadata server answers."""
        with self._lock:
            if clock.monotonic() >= self._good_until:
                answer = json.loads(self._get("service-accounts/default/token"))
                self._token = str(answer["access_token"])
                self._good_until = clock.monotonic() + float(answer["expires_in"]) - 60.0
            return self._token

    def forget_token(self) -> None:
        """A server refused it."""
        self._good_until = -math.inf

    def preempted(self) -> bool:
        """Whether Google is taking this machine back."""
        try:
            return self._get("preempted").strip() == b"TRUE"
        except AgentError:
            return False


@dataclasses.dataclass(frozen=True)
class Rest:
    """Requests with this worker's token, retried as in `retry`. Thread-safe.

    `ok` are statuses besides 2xx that are an answer; every other one is an HttpError.
    """

    metadata: Metadata
    patience_s: float = math.inf
    timeout_s: float = 60.0
    stop: StopRequest | None = None

    def send(self, method: str, url: str, ok: tuple[int, ...] = ()) -> Answer:
        """A request without a body."""

        def once() -> Answer:
            with self.open(method, url, ok=ok) as response:
                return Answer(response.status, response.headers, response.read())

        return self.retrying(once)

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        ok: tuple[int, ...],
        headers: Headers | None = None,
        data: BinaryIO | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """One try, its body unread."""
        all_headers = {**(headers or {}), "Authorization": f"Bearer {self.metadata.token()}"}
        with _opened(method, url, all_headers, data, self.timeout_s) as response:
            if response.status >= 300 and response.status not in ok:
                raise HttpError(method, url, response.status, response.read())
            yield response

    def retrying(self, once: Callable[[], T]) -> T:
        return retry(once, self.patience_s, self.stop, self.metadata.forget_token)
