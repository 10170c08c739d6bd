"""Calls that Google makes: to a function or a push endpoint, with an OIDC token of a service account."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from launcher.sim import iam_policies
from launcher.sim.google_calls import IAM
from launcher.sim.services.backend import Backend
from launcher.sim.state import Body

RUN = "run.googleapis.com"
#: Cloud Run verifies the signature and passes the token on with this in its place.
_SIGNATURE = "SIGNATURE_REMOVED_BY_GOOGLE"
_TOKEN_S = 3600
_HERE = ("127.0.0.1", "localhost")

UNREACHABLE, DENIED = 503, 403


@dataclass(frozen=True)
class Sent:
    """How a target answered: an HTTP status, and what went wrong where nobody answered."""

    status: int
    problem: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


async def send(
    backend: Backend,
    method: str,
    uri: str,
    headers: Mapping[str, str],
    body: bytes,
    oidc: Body | None,
    timeout_s: float = 180.0,
) -> Sent:
    """One request to where `uri` is really served; `oidc` says whose token it carries, and for whom.

    Nothing outside this machine is ever called: who serves a `…a.run.app` here tells POST /_sim/route.
    """
    place = _place(backend, uri)
    if place is None:
        return Sent(
            UNREACHABLE, f'Nobody serves {uri}: tell POST /_sim/route {{"uri": …, "url": "http://127.0.0.1:…"}}'
        )
    email = (oidc or {}).get("serviceAccountEmail", "")
    if not _may_invoke(backend, uri, email):
        return Sent(DENIED, f"{email or 'Nobody'} may not invoke {uri}: it lacks roles/run.invoker on that service.")
    sent = {**headers, "Host": urlsplit(uri).netloc, "X-Forwarded-Proto": urlsplit(uri).scheme}
    if oidc:
        sent["Authorization"] = f"Bearer {_token(backend, email, oidc.get('audience') or uri)}"
    return await asyncio.to_thread(_request, method, place, sent, body, timeout_s)


def _place(backend: Backend, uri: str) -> str | None:
    """The URL on this machine; None where there is none."""
    for served, url in sorted(backend.store.served.items(), reverse=True):  # the longest first
        rest = uri.removeprefix(served)
        if rest != uri and (not rest or rest[0] in "/?"):
            return url + rest
    return uri if urlsplit(uri).hostname in _HERE else None


def _may_invoke(backend: Backend, uri: str, email: str) -> bool:
    """Whether the Cloud Run service at `uri` lets this account in. One that only a route knows asks nobody."""
    for key, service in backend.store.resources.items():
        if key.startswith(f"{RUN}/") and urlsplit(service.get("uri", "")).netloc == urlsplit(uri).netloc:
            members = iam_policies.members(backend.store.policies.get(key, {}), "roles/run.invoker")
            return bool(members & {f"serviceAccount:{email}", "allUsers"})
    return True


def _token(backend: Backend, email: str, audience: str) -> str:
    now = int(backend.clock.now())
    account = backend.store.resources.get(f"{IAM}/projects/{backend.project}/serviceAccounts/{email}", {})
    number = account.get("uniqueId", "0")
    claims = {
        "aud": audience,
        "azp": number,
        "email": email,
        "email_verified": True,
        "exp": now + _TOKEN_S,
        "iat": now,
        "iss": "https://accounts.google.com",
        "sub": number,
    }
    parts = ({"alg": "RS256", "kid": "simulated", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, _SIGNATURE])


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Sent:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        return Sent(answer.status, "" if 200 <= answer.status < 300 else f"{url} answered {answer.status}.")
    except (OSError, http.client.HTTPException) as error:
        return Sent(UNREACHABLE, f"{url} does not answer: {error}")
    finally:
        connection.close()
