"""One HTTP request to the simulated Cloud Storage, and the answers that all its handlers give."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from launcher.sim.gcs.errors import GcsError, parse_error
from launcher.sim.gcs.fields import select
from launcher.sim.gcs.sessions import Sessions
from launcher.sim.gcs.store import Store

_MAX_DOCUMENT_BYTES = 1 << 20


class Call:
    """A request with what is needed to answer it. The body can be iterated once, by whoever comes first."""

    def __init__(self, request: Request, store: Store, sessions: Sessions) -> None:
        self.method = request.method
        self.headers = request.headers
        self.query = dict(request.query_params)
        self.permissions = request.query_params.getlist("permissions")
        self.base_url = f"{request.url.scheme}://{request.url.netloc}"
        self.body: AsyncIterator[bytes] = request.stream()
        self.store = store
        self.sessions = sessions

    @property
    def wants_media(self) -> bool:
        return self.method == "GET" and self.query.get("alt") == "media"

    def flag(self, name: str) -> bool:
        return self.query.get(name, "false").lower() == "true"

    async def document(self) -> dict[str, Any]:
        """The body as a JSON object, {} for an empty one. Raises GcsError 400."""
        data = bytearray()
        async for chunk in self.body:
            data += chunk
            if len(data) > _MAX_DOCUMENT_BYTES:
                raise parse_error(f"The JSON document is longer than {_MAX_DOCUMENT_BYTES} bytes.")
        return parse_document(bytes(data))

    async def drain(self) -> None:
        """Read what is left of the body: a client still sending would see a broken pipe, not the answer."""
        async for _ in self.body:
            pass

    def json(self, document: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
        """A 200 with the document, or the part of it that `fields` asks for."""
        return _json_response(200, select(document, self.query.get("fields")), headers)

    def error(self, error: GcsError) -> Response:
        """The error as JSON; as plain text where media was asked for; with no body for 304."""
        if error.code == 304:
            return Response(status_code=304)
        if self.wants_media:
            return Response(error.message, error.code, error.headers, media_type="text/plain")
        return _json_response(error.code, error.body(), error.headers)


def parse_document(data: bytes) -> dict[str, Any]:
    """A JSON object from bytes, {} from none. Raises GcsError 400."""
    if not data.strip():
        return {}
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise parse_error() from None
    if not isinstance(document, dict):
        raise parse_error("The request's JSON is not an object.")
    return document


def _json_response(code: int, document: Any, headers: dict[str, str] | None) -> Response:
    return Response(json.dumps(document), code, headers, media_type="application/json; charset=UTF-8")
