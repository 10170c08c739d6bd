"""The metadata server that one simulated worker sees, with Compute Engine's paths, headers and refusals."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Callable, Mapping

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from launcher.sim.clock import Clock
from launcher.sim.metadata_tree import Metadata, Node
from launcher.sim.timed import new_token

#: (address, port) of the client's end and of ours -> whether that client may talk to us (guard.py).
PeerAllowed = Callable[[tuple[str, int], tuple[str, int]], bool]
#: Guest attributes hold at most this much a value on Compute Engine.
MAX_ATTRIBUTE_BYTES = 256 * 1024
TOKEN_LIFETIME_S = 3599
_TOKEN_RENEWED_S = 300  # a token with less left is replaced

_PREFIX = "computeMetadata/v1"
#: JSON answers spell these names in camel case; names below `attributes` are the users' own and stay.
_CAMEL_CASE = {
    name: name.split("-")[0] + "".join(part.title() for part in name.split("-")[1:])
    for name in (
        *("access-configs", "external-ip", "guest-attributes", "maintenance-event", "network-interfaces"),
        *("numeric-project-id", "project-id", "service-accounts"),
    )
}
_VERBATIM = frozenset({"attributes", "guest-attributes"})


class MetadataServer:
    """Serves one worker's Metadata over HTTP."""

    def __init__(self, metadata: Metadata, peer_allowed: PeerAllowed, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._token = ""
        self._token_ends = 0.0
        self._peer_allowed = peer_allowed
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._closed = False

    async def start(self, listening: socket.socket) -> None:
        """Serve on `listening`."""
        # uvicorn.Server would poll ten times a second for each worker and take the process's signal handlers,
        # so only its protocol is used.
        config = uvicorn.Config(
            self,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=self._state, app_state={}),  # type: ignore[call-arg]
            sock=listening,
        )

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        self._metadata.announce()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        request = Request(scope, receive)
        response = self._refusal(request) or await self._answer(request)
        response.headers["Metadata-Flavor"] = "Google"
        response.headers["Server"] = "Metadata Server for VM"
        response.headers["Date"] = self._clock.date()
        await response(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        client, server = request.scope["client"], request.scope["server"]
        if client is None or not self._peer_allowed(tuple(client), tuple(server)):
            return Response("This simulator serves only the user who started it.\n", 403)
        host = request.headers.get("host", "").partition(":")[0]
        # A page in a browser reaches this address under a name of its own (DNS rebinding).
        if host not in (server[0], "metadata.google.internal", "metadata", "169.254.169.254"):
            return Response(f"Unknown host {host!r}.\n", 403)
        if "origin" in request.headers or "x-forwarded-for" in request.headers:
            return Response("Requests of browsers and proxies are refused.\n", 403)
        if request.headers.get("metadata-flavor") != "Google" and request.url.path != "/":
            return Response("Missing Metadata-Flavor:Google header.\n", 403)
        return None

    async def _answer(self, request: Request) -> Response:
        path = str(request.scope["path"]).strip("/")
        if path in ("", "computeMetadata") and request.method == "GET":
            return _text("v1/\n" if path else "computeMetadata/\n")
        if path != _PREFIX and not path.startswith(_PREFIX + "/"):
            return _missing()
        path = path.removeprefix(_PREFIX).strip("/")
        if path.startswith("instance/guest-attributes/") and request.method in ("PUT", "DELETE"):
            return await self._write_guest_attribute(request, path.split("/")[2:])
        if request.method != "GET":
            return Response("Method not allowed.\n", 405)
        if path.startswith("instance/service-accounts/") and path.endswith("/token"):
            return self._token_answer() if self._metadata.find(path.removesuffix("/token")) is not None else _missing()
        return await self._read(request, path)

    def _token_answer(self) -> Response:
        """The same token until shortly before its end."""
        left_s = self._token_ends - self._clock.now()
        if left_s < _TOKEN_RENEWED_S:
            left_s = TOKEN_LIFETIME_S
            self._token_ends = self._clock.now() + left_s
            self._token = new_token(self._token_ends)
        answer = {"access_token": self._token, "expires_in": int(left_s), "token_type": "Bearer"}
        return Response(json.dumps(answer), media_type="application/json")

    async def _read(self, request: Request, path: str) -> Response:
        query = request.query_params
        value = self._metadata.find(path)
        if query.get("wait_for_change", "").lower() == "true":
            value = await self._changed_value(path, query)
        if value is None:
            return _missing()
        return _render(value, query, path)

    async def _changed_value(self, path: str, query: Mapping[str, str]) -> Node | None:
        """The value at `path` once it differs from what the client knows; as it is when the time is over."""
        known = query.get("last_etag", "0")
        if known == "0":
            known = _etag(self._metadata.find(path))
        try:
            async with asyncio.timeout(_seconds(query.get("timeout_sec"))):
                while not self._closed and _etag(self._metadata.find(path)) == known:
                    await self._metadata.changed()
        except TimeoutError:
            pass
        return self._metadata.find(path)

    async def _write_guest_attribute(self, request: Request, names: list[str]) -> Response:
        if len(names) != 2 or not all(names):
            return Response("A guest attribute has a namespace and a key.\n", 400)
        namespace, key = names
        value = None
        if request.method == "PUT":
            body = await request.body()
            if len(body) > MAX_ATTRIBUTE_BYTES:
                return Response(f"A guest attribute holds at most {MAX_ATTRIBUTE_BYTES} bytes.\n", 413)
            value = body.decode(errors="replace")
        self._metadata.set_guest_attribute(namespace, key, value)
        return _text("")


def _render(value: Node, query: Mapping[str, str], path: str) -> Response:
    recursive = query.get("recursive", "").lower() == "true"
    if query.get("alt") == "json" or (recursive and query.get("alt") != "text"):
        body = json.dumps(_camel_case(value, verbatim=not _VERBATIM.isdisjoint(path.split("/"))))
        response = Response(body, media_type="application/json")
    elif isinstance(value, dict):
        response = _text("".join(f"{name}{_slash(child)}\n" for name, child in sorted(value.items())))
    elif isinstance(value, list):
        lines = (f"{index}/\n" if isinstance(child, dict) else f"{child}\n" for index, child in enumerate(value))
        response = _text("".join(lines))
    else:
        response = _text(str(value))
    response.headers["ETag"] = _etag(value)
    return response


def _camel_case(value: Node, verbatim: bool) -> Node:
    if isinstance(value, list):
        return [_camel_case(child, verbatim) for child in value]
    if not isinstance(value, dict):
        return value
    if verbatim:
        return {name: _camel_case(child, verbatim=True) for name, child in value.items()}
    return {_CAMEL_CASE.get(name, name): _camel_case(child, name in _VERBATIM) for name, child in value.items()}


def _slash(child: Node) -> str:
    leaf = isinstance(child, (str, int)) or (isinstance(child, list) and not any(isinstance(c, dict) for c in child))
    return "" if leaf else "/"


def _etag(value: Node | None) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None


def _text(body: str) -> Response:
    return Response(body, media_type="application/text")


def _missing() -> Response:
    return Response("The requested URL was not found on this server.\n", 404)
