"""Google-shaped JSON answers and errors, shared by the services of the simulator."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

#: The canonical status of each HTTP code, where a service does not name another one.
STATUS_OF_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}

Handler = Callable[[Request], Awaitable[Response]]


class GoogleError(Exception):
    """A refusal that a handler raises; `answer()` turns it into the response Google would send."""

    def __init__(
        self,
        code: int,
        message: str,
        status: str | None = None,
        reason: str | None = None,
        details: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.reason = reason
        self.details = tuple(details)

    def answer(self) -> Response:
        """The HTTP response for this error."""
        return google_error(self.code, self.message, self.status, self.reason, self.details)


def json_answer(body: Any, code: int = 200) -> Response:
    """A JSON response with Google's content type."""
    content = json.dumps(body, ensure_ascii=False, indent=2).encode() + b"\n"
    return Response(content, status_code=code, media_type="application/json; charset=UTF-8")


def google_error(
    code: int,
    message: str,
    status: str | None = None,
    reason: str | None = None,
    details: Sequence[dict[str, Any]] = (),
) -> Response:
    """The error body all Google APIs share.

    `status` is the canonical name (default: the usual one of `code`); `reason` adds the `errors` list of the
    older JSON APIs (GCS: "notFound", "conditionNotMet", …); `details` are google.rpc messages with `@type`.
    """
    error: dict[str, Any] = {"code": code, "message": message}
    if reason is not None:
        error["errors"] = [{"message": message, "domain": "global", "reason": reason}]
    error["status"] = status or STATUS_OF_CODE.get(code, "UNKNOWN")
    if details:
        error["details"] = list(details)
    return json_answer({"error": error}, code)


def answering(handler: Handler) -> Handler:
    """`handler`, with a GoogleError it raises sent as the answer."""

    async def wrapped(request: Request) -> Response:
        try:
            return await handler(request)
        except GoogleError as error:
            return error.answer()

    return wrapped
