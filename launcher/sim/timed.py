"""ASGI middleware that gives every answer the simulator's date, and refuses tokens whose time is over."""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from launcher.sim.clock import Clock
from launcher.sim.http import google_error

_TOKEN = re.compile(rb"Bearer simulated-(\d+)-")


def new_token(ends: float) -> str:
    """An access token that is refused after `ends`."""
    return f"simulated-{ends:.0f}-{secrets.token_urlsafe(24)}"


class Timed:
    """Time does not go on without a request that is being handled, but for those of `launcher sim` itself."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"date", self._clock.date().encode())]
            await send(message)

        if scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, dated)
            return
        with self._clock.handling():
            if not self._token_is_over(scope):
                await self._app(scope, receive, dated)
                return
            while (await receive()).get("more_body", False):  # who is still sending would see a broken pipe
                pass
            message = "Request had invalid authentication credentials."
            await google_error(401, message, reason="authError")(scope, receive, dated)

    def _token_is_over(self, scope: Scope) -> bool:
        given = _TOKEN.match(dict(scope["headers"]).get(b"authorization", b""))
        return given is not None and int(given[1]) <= self._clock.now()
