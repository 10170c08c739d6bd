"""Errors as Cloud Storage tells them: a status, a reason, and where in the request it is."""

from __future__ import annotations

from typing import Any


class GcsError(Exception):
    """A request that Cloud Storage refuses. `code` is the HTTP status, `reason` the API's own word for it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        location: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """`location` is (type, name), for example ("parameter", "uploadType")."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.location = location
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON error document of the v1 storage API, which has no `status` field unlike newer APIs."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location is not None:
            detail["locationType"], detail["location"] = self.location
        return {"error": {"code": self.code, "message": self.message, "errors": [detail]}}


def invalid(message: str, *, parameter: str | None = None) -> GcsError:
    return GcsError(400, "invalid", message, location=("parameter", parameter) if parameter else None)


def required(parameter: str) -> GcsError:
    message = f"Required parameter: {parameter}"
    return GcsError(400, "required", message, location=("parameter", parameter))


def parse_error(message: str = "Parse Error") -> GcsError:
    return GcsError(400, "parseError", message)


def no_such_bucket() -> GcsError:
    return GcsError(404, "notFound", "The specified bucket does not exist.")


def no_such_object(bucket: str, name: str) -> GcsError:
    return GcsError(404, "notFound", f"No such object: {bucket}/{name}")


def precondition_failed(header: str = "If-Match") -> GcsError:
    message = "At least one of the pre-conditions you specified did not hold."
    return GcsError(412, "conditionNotMet", message, location=("header", header))


def not_modified() -> GcsError:
    return GcsError(304, "notModified", "Not Modified")


def forbidden(bucket: str) -> GcsError:
    message = f"The caller does not have access to the bucket {bucket} (or it may not exist)."
    return GcsError(403, "forbidden", message)


def conflict(message: str) -> GcsError:
    return GcsError(409, "conflict", message)
