"""Whose credentials are used, and who that is."""

from __future__ import annotations

import functools
import logging
import re
from typing import TYPE_CHECKING, Any

from launcher.cloud.retry import LOGIN
from launcher.errors import ConfigError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_USERINFO = "https://openidconnect.googleapis.com/v1/userinfo"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@functools.cache
def load(kind: str) -> Credentials:
    """`default`: Application Default Credentials (ConfigError where there are none); `anonymous`: none."""
    if kind == "anonymous":
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is partly untyped
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    # Without a handler Python would print its warning that no project is set: the profile names it.
    logging.getLogger("google.auth").addHandler(logging.NullHandler())
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as exc:
        detail = str(exc).splitlines()[0].rstrip(".")
        raise ConfigError(f"No usable Google credentials on this machine: {detail}. Run: {LOGIN}") from exc
    return credentials


def member(credentials: Any) -> str:
    """Who calls, as IAM spells it (`user:a@b.c`), as far as the credentials tell without a network."""
    for kind, attribute in (("serviceAccount", "service_account_email"), ("user", "account")):
        email = getattr(credentials, attribute, None)
        if isinstance(email, str) and _EMAIL.fullmatch(email):
            return f"{kind}:{email}"
    return ""


def account(kind: str) -> str:
    """The e-mail address of whoever calls; asks Google where the credentials do not say it.

    "" where nobody can tell: anonymous credentials, no network, or a login without the e-mail scope.
    """
    credentials = load(kind)
    known = member(credentials)
    if known or kind == "anonymous":
        return known.partition(":")[2]
    import requests
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession, Request

    try:
        credentials.refresh(Request())  # type: ignore[no-untyped-call]  # google-auth is partly untyped
        if known := member(credentials):  # Compute Engine: known after the first token
            return known.partition(":")[2]
        answer = AuthorizedSession(credentials).get(_USERINFO, timeout=10)  # type: ignore[no-untyped-call]
        email = answer.json().get("email", "") if answer.ok else ""
    except (GoogleAuthError, requests.RequestException):
        return ""
    return email if isinstance(email, str) and _EMAIL.fullmatch(email) else ""
