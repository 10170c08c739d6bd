"""Who may call a function: one service account, with a token that was made for this very function.

Google's front end has verified the token and passes it on without its signature (SIGNATURE_REMOVED_BY_GOOGLE). What it
does not know is who was meant: it lets in whoever holds an invoker role, be it by mistake or by a role on the project.
"""

from __future__ import annotations

import base64
import json
from typing import Any


class Refused(Exception):
    """`status`: 401 where there is no usable token, 403 where it is not the right one."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(authorization: str, *, caller: str, audience: str, now: float) -> None:
    """Refused unless `authorization`, the header, carries an unexpired token of `caller` for `audience`."""
    claims = _claims(authorization)
    meant = claims.get("aud")
    if not isinstance(meant, str) or meant.rstrip("/") != audience.rstrip("/"):
        raise Refused(403, f"The token's audience is {meant!r}, not {audience!r}: it was made for another service.")
    if claims.get("email_verified") is not True or claims.get("email") != caller:
        raise Refused(403, f"{claims.get('email')!r} may not call this function: only {caller!r} may.")
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or expires <= now:
        raise Refused(401, f"The token of {caller!r} has expired.")


def _claims(authorization: str) -> dict[str, Any]:
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or token.count(".") != 2:
        raise Refused(401, "The request has no bearer token: call with an OIDC identity token in Authorization.")
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError as exc:
        raise Refused(401, f"The bearer token cannot be read: {exc}.") from exc
    if not isinstance(claims, dict):
        raise Refused(401, "The bearer token cannot be read: it holds no claims.")
    return claims
