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
GRANT, ENABLE = "Whoever administers it can grant it: ", "Enable the API: "  # what a refusal's message ends with

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
_PLACE = re.compile(r"[Pp]ermission denied on 'locations/([\w-]+)'")
# google.rpc.Code to HTTP status; ABORTED (10) is another operation under way: it passes.
_HTTP_OF_CODE = {3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 503, 11: 400, 13: 500, 14: 503, 16: 401}


@dataclasses.dataclass(frozen=True)
class Call:
    """What was asked of Google, for messages.

    action: `creating queued resource x`; permission: the one that the call needs; member: who calls
    (`user:a@b.c`), "" where unknown; grant: the command that gives the permission, with {member} in it; missing:
    what to do on 404; capacity: whether the answer can be that there is no hardware.
    """

    action: str
    resource: str
    project: str = ""
    service: str = ""
    permission: str = ""
    member: str = ""
    grant: str = ""
    missing: str = ""
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
    if error_code in (4, 9) and _EXPIRED.search(reason):  # waited until valid_for_s without any hardware
        return OutOfCapacity
    return _kind(_HTTP_OF_CODE.get(error_code, 0), reason, capacity=True)


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
    from google.auth.exceptions import InvalidOperation, RefreshError

    if isinstance(exc, GoogleAPICallError) and exc.code is not None:
        return _answered(exc, call)
    # The query of a url can hold an upload's session, with which anybody could write in our name.
    said = re.sub(r"\?[^\s'\")]*", "", (str(exc).strip().splitlines() or [""])[0]) or type(exc).__name__
    if isinstance(exc, RefreshError) and not exc.retryable:
        return _no_credentials(f"{call.action}: the credentials are no longer accepted: {said}. Run: {LOGIN}")
    if isinstance(exc, InvalidOperation):  # a 401 makes google-auth refresh, which anonymous credentials cannot
        return _no_credentials(
            f"{call.action}: {call.resource} wants credentials, the profile says credentials = "
            '"anonymous". Set credentials = "default" in the profile.'
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return CloudError(
            f"{call.action}: {said}. Where a company's proxy re-signs traffic, name its "
            "certificates with REQUESTS_CA_BUNDLE=FILE."
        )
    return Unavailable(f"{call.action}: {said.rstrip('.')}. Check the network, then try again.")


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
        clock.wait(min(pause_s * random.uniform(0.5, 1.0), deadline.remaining()))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _kind(status: int, text: str, reason: str = "", *, capacity: bool) -> type[CloudError]:
    """Which of our errors an HTTP status with Google's words and ErrorInfo reason is."""
    if status == 403 and (reason == "SERVICE_DISABLED" or _DISABLED.search(text)):
        return ApiDisabled
    if capacity and status not in (0, 401, 403) and _CAPACITY.search(text):  # seen with 429, 400, 500 and 503
        return OutOfCapacity
    if status in (403, 429) and (reason == "RATE_LIMIT_EXCEEDED" or _RATE.search(text)):
        return Unavailable
    if (status == 403 or (status == 429 and capacity)) and _QUOTA.search(text):
        return QuotaExceeded
    if status == 429 and capacity:
        return OutOfCapacity
    if status in (408, 429, 499) or status >= 500:
        return Unavailable
    by_status = {401: PermissionDenied, 403: PermissionDenied, 404: NotFound, 409: Conflict, 412: Conflict}
    return by_status.get(status, InvalidRequest if 400 <= status < 500 else CloudError)


def _answered(exc: Any, call: Call) -> CloudError:
    """A GoogleAPICallError with its HTTP status as ours, with advice."""
    text = _REQUEST_LINE.sub("", exc.message or "").strip() or type(exc).__name__
    reason, name = str(exc.reason or ""), ""
    try:
        error = exc.response.json()["error"]
        text, name = str(error["message"]), str(error.get("status", ""))
        reason = str(next((each["reason"] for each in error.get("details", ()) if "reason" in each), reason))
    except (AttributeError, KeyError, TypeError, ValueError):  # no answer, or none of Google's shape
        pass
    status = int(exc.code)
    kind = _kind(status, text, reason, capacity=call.capacity)
    if name == "ABORTED" and kind is Conflict:  # "unable to queue the operation": another one is under way
        kind = Unavailable
    said = f"{call.action}: Google says: {text.rstrip('.')}. {_advice(kind, status, text, call)}".rstrip()
    return _no_credentials(said) if status == 401 else kind(said)


def _no_credentials(message: str) -> PermissionDenied:
    error = PermissionDenied(message)
    error.credentials = True
    return error


def _advice(kind: type[CloudError], status: int, text: str, call: Call) -> str:
    if kind is PermissionDenied:
        return f"The credentials were not accepted. Run: {LOGIN}" if status == 401 else _grant(text, call)
    if kind is ApiDisabled:
        found = _SERVICE.search(text)
        project = f" --project {call.project}" if call.project else ""
        return f"{ENABLE}gcloud services enable {found.group(1) if found else call.service}{project}"
    if kind is QuotaExceeded:
        where = f"?project={call.project}" if call.project else ""
        return (
            f"Ask for more at https://console.cloud.google.com/iam-admin/quotas{where}, "
            "or use a zone where you have quota."
        )
    fixed = {
        OutOfCapacity: "Name other zones (zone=[...]), another accelerator, or try later.",
        NotFound: call.missing,
        InvalidRequest: f"This concerns {call.resource}.",
        CloudError: f"(HTTP {status})",
    }
    return fixed.get(kind, "")


def _grant(text: str, call: Call) -> str:
    """Who lacks which permission on what, and the command that gives it."""
    caller = _CALLER.search(text)
    named = _DENIED.search(text)
    permission = named.group(1) if named else caller.group(2) if caller else call.permission
    member = call.member
    if caller:
        kind = "serviceAccount" if caller.group(1).endswith(".gserviceaccount.com") else "user"
        member = f"{kind}:{caller.group(1)}"
    place = _PLACE.search(text)  # the same words for a zone that there is not
    who = member or f"{'the' if place else 'The'} account in use"
    lacks = f"{who} lacks {permission} on {call.resource}." if permission else ""
    grant = f" {GRANT}{call.grant.format(member=member or 'user:YOU')}"
    look = f"See if there is a zone {place.group(1)}: gcloud compute tpus locations list. If so, " if place else ""
    return f"{look}{lacks}{grant if call.grant else ''}"
