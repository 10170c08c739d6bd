"""Foreign errors to ours, at one place, and the one retry loop of the cloud seams."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable
from typing import Any, TypeVar

from launcher.cloud.seams import Clock
from launcher.errors import (
    ApiDisabled,
    CloudError,
    Conflict,
    InvalidRequest,
    NotFound,
    OutOfCapacity,
    PermissionDenied,
    QuotaExceeded,
    Unavailable,
)

T = TypeVar("T")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0
LOGIN = "gcloud auth application-default login"

_CAPACITY = re.compile(
    r"no (more|available) capacity|out of capacity|stock-?out|resource_pool_exhausted"
    r"|(not |have )enough (available )?(resources|capacity)|insufficient (resources|capacity)",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"quota", re.IGNORECASE)
_RATE = re.compile(r"rate.?limit|per (second|minute)|too many requests", re.IGNORECASE)
_DISABLED = re.compile(r"SERVICE_DISABLED|has not been used in project|API .{0,80}(is|it is) disabled", re.IGNORECASE)
_EXPIRED = re.compile(r"expire|valid.?until|deadline", re.IGNORECASE)
_SERVICE = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
_REQUEST_LINE = re.compile(r"^[A-Z]+ https?://\S+: ")
_CALLER = re.compile(r"^(\S+@\S+) does not have ([a-z]+\.[\w.]+) access")
_DENIED = re.compile(r"[Pp]ermission '?([a-z]+\.[\w.]+)'? denied")


@dataclasses.dataclass(frozen=True)
class Call:
    """What was asked of Google, for messages.

    action: `creating queued resource x`; permission: the one that the call needs; member: who calls
    (`user:a@b.c`), "" where unknown; grant: the command that gives the permission, with {member} in it;
    capacity: whether code 8 can mean that there is no hardware (else it is a rate limit).
    """

    action: str
    resource: str
    project: str = ""
    service: str = ""
    permission: str = ""
    member: str = ""
    grant: str = ""
    missing: str = ""  # what to do where `resource` was not found
    capacity: bool = False


class Deadline:
    """A moment on a clock's monotonic scale; `timeout_s` None is never."""

    def __init__(self, clock: Clock, timeout_s: float | None) -> None:
        self._clock = clock
        self._end = math.inf if timeout_s is None else clock.monotonic() + timeout_s

    def remaining(self) -> float:
        return max(0.0, self._end - self._clock.monotonic())

    @property
    def expired(self) -> bool:
        return self.remaining() <= 0


def classify_failure(error_code: int, reason: str) -> type[CloudError]:
    """Which error a google.rpc.Code with this text is, of an operation or of a FAILED queued resource."""
    if error_code == 8:
        if _CAPACITY.search(reason):
            return OutOfCapacity
        if _RATE.search(reason):
            return Unavailable
        return QuotaExceeded if _QUOTA.search(reason) else OutOfCapacity
    if error_code == 7:
        return ApiDisabled if _DISABLED.search(reason) else PermissionDenied
    if error_code in (4, 9) and _EXPIRED.search(reason):  # waited until valid_for_s without any hardware
        return OutOfCapacity
    if error_code and _CAPACITY.search(reason):  # also seen as 9, 13 and 14
        return OutOfCapacity
    by_code: dict[int, type[CloudError]] = {
        3: InvalidRequest,
        4: Unavailable,
        5: NotFound,
        6: Conflict,
        9: InvalidRequest,
        10: Unavailable,
        11: InvalidRequest,
        13: Unavailable,
        14: Unavailable,
        16: PermissionDenied,
    }
    return by_code.get(error_code, CloudError)


def foreign_errors() -> tuple[type[Exception], ...]:
    """What google-auth, google-api-core, requests and the sockets below them raise."""
    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    ours = (GoogleAPIError, GoogleAuthError, requests.RequestException, urllib3.exceptions.HTTPError)
    return (*ours, ConnectionError, TimeoutError)


def map_error(exc: Exception, call: Call) -> CloudError:
    """One foreign exception as ours: the most specific class, with culprit, place and fix."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, RefreshError

    if isinstance(exc, GoogleAPICallError) and exc.code is not None:
        text, reason = _said(exc)
        return _from_status(int(exc.code), text, reason, call)
    if isinstance(exc, RefreshError) and not exc.retryable:
        return PermissionDenied(f"{call.action}: the credentials are no longer accepted: {exc}. Run: {LOGIN}")
    if isinstance(exc, GoogleAuthError) and type(exc).__name__ == "InvalidOperation":
        # Anonymous credentials cannot be refreshed, which google-auth tries on a 401.
        return PermissionDenied(
            f"{call.action}: {call.resource} wants credentials, the profile says credentials = "
            '"anonymous". Set credentials = "default" in the profile.'
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return CloudError(
            f"{call.action}: {_first_line(exc)}. Where a company's proxy re-signs traffic, name its "
            "certificates with REQUESTS_CA_BUNDLE=FILE."
        )
    return Unavailable(f"{call.action}: {_first_line(exc)}. Check the network, then try again.")


def with_retries(function: Callable[[], T], call: Call, *, clock: Clock, deadline: Deadline) -> T:
    """`function()`, repeated with growing, jittered pauses while the service is unavailable.

    Raises ours for every foreign exception, Unavailable once the deadline has passed. The function must
    bear being repeated after a lost answer.
    """
    foreign = foreign_errors()
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return function()
        except foreign as exc:
            error = map_error(exc, call)
            if not isinstance(error, Unavailable) or deadline.expired:
                raise error from exc
        wait_s = pause_s * random.uniform(0.5, 1.0)
        clock.wait(min(wait_s, deadline.remaining()))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _said(exc: Any) -> tuple[str, str]:
    """Google's own words and the ErrorInfo reason of a GoogleAPICallError."""
    fallback = _REQUEST_LINE.sub("", exc.message or "").strip() or type(exc).__name__
    try:
        error = exc.response.json()["error"]
        details = [detail for detail in error.get("details", ()) if "reason" in detail]
        return str(error["message"]), str(details[0]["reason"]) if details else str(exc.reason or "")
    except (AttributeError, KeyError, TypeError, ValueError):  # no answer, or none of Google's shape
        return fallback, str(exc.reason or "")


def _from_status(status: int, text: str, reason: str, call: Call) -> CloudError:
    said = f"{call.action}: Google says: {text.rstrip('.')}."
    if status == 401:
        return PermissionDenied(f"{said} The credentials were not accepted. Run: {LOGIN}")
    if status == 403 and (reason == "SERVICE_DISABLED" or _DISABLED.search(text)):
        found = _SERVICE.search(text)
        service = found.group(1) if found else call.service
        project = f" --project {call.project}" if call.project else ""
        return ApiDisabled(f"{said} Enable the API: gcloud services enable {service}{project}")
    if status in (403, 429) and (_RATE.search(text) or reason == "RATE_LIMIT_EXCEEDED"):
        return Unavailable(said)
    if status == 403 and _QUOTA.search(text):
        return _exhausted(QuotaExceeded, said, call)
    if status == 403:
        return _denied(said, text, call)
    if status == 404:
        return NotFound(f"{said} {call.missing}".rstrip())
    if status in (409, 412):
        return Conflict(said)
    if status == 429 and call.capacity:
        return _exhausted(classify_failure(8, text), said, call)
    if status == 429 or status in (408, 499) or status >= 500:
        late = classify_failure(14, text) if call.capacity else Unavailable
        return _exhausted(late, said, call)
    if 400 <= status < 500:
        return InvalidRequest(f"{said} This concerns {call.resource}.")
    return CloudError(f"{said} (HTTP {status})")


def _exhausted(kind: type[CloudError], said: str, call: Call) -> CloudError:
    if kind is OutOfCapacity:
        return OutOfCapacity(f"{said} Name other zones (zone=[...]), another accelerator, or try later.")
    if kind is QuotaExceeded:
        where = f"?project={call.project}" if call.project else ""
        return QuotaExceeded(
            f"{said} Ask for more at https://console.cloud.google.com/iam-admin/quotas{where}, "
            "or use a zone where you have quota."
        )
    return kind(said)


def _denied(said: str, text: str, call: Call) -> PermissionDenied:
    caller = _CALLER.search(text)
    named = _DENIED.search(text)
    permission = named.group(1) if named else caller.group(2) if caller else call.permission
    member = call.member
    if caller:
        kind = "serviceAccount" if caller.group(1).endswith(".gserviceaccount.com") else "user"
        member = f"{kind}:{caller.group(1)}"
    lacks = f" {member or 'The account in use'} lacks {permission} on {call.resource}." if permission else ""
    grant = f" Whoever administers it can grant it: {call.grant.format(member=member or 'user:YOU')}"
    return PermissionDenied(f"{said}{lacks}{grant if call.grant else ''}")


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return (lines[0] if lines else type(exc).__name__).rstrip(".")
