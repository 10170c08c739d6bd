"""HTTP to Google's APIs with the worker's own identity: tokens from the metadata server, retries with back-off."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import ipaddress
import json
import math
import os
import random
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, TypeVar

from launcher.agent.failures import AgentError, StopRequest
from launcher.agent.timing import Clock, Timing

T = TypeVar("T")

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0
_METADATA = "metadata.google.internal"


class HttpError(Exception):
    """An answer that no retry mends. `code` is the HTTP status."""

    def __init__(self, method: str, url: str, code: int, headers: Message, body: bytes) -> None:
        self.code = code
        self.headers = headers
        words = body.decode(errors="replace").strip()
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not Google's JSON: shown as it is
            words = str(json.loads(body)["error"]["message"])
        super().__init__(f"{method} {url.partition('?')[0]}: HTTP {code}: {words[:500]}")


class Unreachable(Exception):
    """No usable answer within the caller's patience."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Google's APIs redirect nobody, and a token must not follow one; 308 means "go on" in an upload."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        document = json.loads(self.body)
        return document if isinstance(document, dict) else {}


def _opener(url: str) -> urllib.request.OpenerDirector:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_link_local
    except ValueError:
        here = host in ("localhost", _METADATA)
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if here:
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    return urllib.request.build_opener(*handlers)


def _send(method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout_s: float) -> Any:
    request = urllib.request.Request(url, data=data, headers=dict(headers), method=method)
    try:
        return _opener(url).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as exc:
        with exc:
            raise HttpError(method, url, exc.code, exc.headers, exc.read()) from None


class Metadata:
    """The metadata server of this worker. Thread-safe; tokens are kept until shortly before they expire."""

    def __init__(self, clock: Clock, timing: Timing) -> None:
        host = os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP") or _METADATA
        self.root = f"http://{host}/computeMetadata/v1/"
        self._clock = clock
        self._tries = timing.metadata_tries
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = -math.inf

    def get(self, path: str) -> bytes:
        """One value. AgentError when no metadata server answers."""
        delay_s = _FIRST_DELAY_S
        for left in reversed(range(self._tries)):
            try:
                with _send("GET", self.root + path, {"Metadata-Flavor": "Google"}, None, 10.0) as response:
                    return bytes(response.read())
            except (OSError, http.client.HTTPException, HttpError) as exc:
                if not left:
                    raise AgentError(
                        f"no metadata server answers at {self.root}{path} ({exc}): the agent needs the worker's own "
                        "identity. It runs on a TPU VM, or on a simulated worker, with a service account attached."
                    ) from exc
            self._clock.wait(delay_s)
            delay_s *= 2
        raise AssertionError("unreachable: the last try returns or raises")

    def token(self, *, refused: str = "") -> str:
        """An access token; a new one when the present one is the `refused` one."""
        with self._lock:
            if self._clock.monotonic() >= self._good_until or self._token == refused:
                answer = json.loads(self.get("instance/service-accounts/default/token"))
                self._token = str(answer["access_token"])
                self._good_until = self._clock.monotonic() + float(answer["expires_in"]) - 60.0
            return self._token

    def preempted(self) -> bool:
        """Whether Google is taking this machine back."""
        try:
            return self.get("instance/preempted").strip() == b"TRUE"
        except AgentError:
            return False


class Rest:
    """Requests with this worker's token. Thread-safe.

    `patience_s`: how long failures that may mend (429, 5xx, dropped connections) are retried before Unreachable.
    `stop`: a request that ends the retries with Stopped.
    """

    def __init__(
        self,
        metadata: Metadata,
        clock: Clock,
        *,
        patience_s: float = math.inf,
        timeout_s: float = 60.0,
        stop: StopRequest | None = None,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._stop = stop

    def send(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (),
    ) -> Answer:
        """The answer when it is 2xx or one of `ok`; HttpError otherwise."""

        def once() -> Answer:
            try:
                with self.open(method, url, data=data, headers=headers) as response:
                    return Answer(response.status, response.headers, response.read())
            except HttpError as exc:
                if exc.code in ok:
                    return Answer(exc.code, exc.headers, b"")
                raise

        return self.retrying(once)

    def open(
        self, method: str, url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """One try, its body unread. A token that the server refuses is replaced once."""
        token = self._metadata.token()
        for last in (False, True):
            all_headers = {**(headers or {}), "Authorization": f"Bearer {token}"}
            try:
                return _send(method, url, all_headers, data, self._timeout_s)
            except HttpError as exc:
                if exc.code != 401 or last:
                    raise
            token = self._metadata.token(refused=token)
        raise AssertionError("unreachable: the second try returns or raises")

    def retrying(self, once: Callable[[], T]) -> T:
        """`once`, again and again with growing, random pauses while its failure may mend."""
        give_up_at = self._clock.monotonic() + self._patience_s
        delay_s = _FIRST_DELAY_S
        while True:
            if self._stop is not None:
                self._stop.check()
            try:
                return once()
            except HttpError as exc:
                if exc.code not in _RETRIED:
                    raise
                failure: Exception = exc
            except (OSError, http.client.HTTPException) as exc:  # URLError and timeouts are OSErrors
                failure = exc
            pause_s = delay_s * random.uniform(0.5, 1.0)
            if self._clock.monotonic() + pause_s > give_up_at:
                raise Unreachable(str(failure)) from failure
            self._clock.wait(pause_s, None if self._stop is None else self._stop.event)
            delay_s = min(delay_s * 2, _MAX_DELAY_S)
