"""Those of Google's APIs that have no client library here, over REST."""

from __future__ import annotations

import functools
from typing import Any

from launcher.cloud import credentials as _credentials
from launcher.cloud.retry import Call, Deadline, with_retries
from launcher.cloud.seams import Clock, SystemClock
from launcher.config import Profile

_REQUEST_TIMEOUT_S = 30.0
_PATIENCE_S = 10.0  # for which one call is repeated while an API is unavailable


class RestApi:
    """Requests as the profile's identity. Thread-safe; google's libraries are imported at the first one."""

    def __init__(self, profile: Profile, *, clock: Clock | None = None) -> None:
        self._profile = profile
        self._clock = clock or SystemClock()

    @functools.cached_property
    def _session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        session = AuthorizedSession(_credentials.load(self._profile.credentials))  # type: ignore[no-untyped-call]
        # No proxy leads to a simulator.
        session.trust_env = self._profile.storage_endpoint.startswith("https:")
        return session

    def _ask(self, about: Call, method: str, url: str, **options: Any) -> Any:
        """The answer's JSON. CloudError."""
        from google.api_core.exceptions import from_http_status

        def ask() -> Any:
            answer = self._session.request(method, url, timeout=_REQUEST_TIMEOUT_S, allow_redirects=False, **options)
            if 200 <= answer.status_code < 300:
                return answer.json()
            raise from_http_status(  # type: ignore[no-untyped-call]  # google-api-core is partly untyped
                answer.status_code, answer.text, response=answer
            )

        return with_retries(ask, about, clock=self._clock, deadline=Deadline(self._clock, _PATIENCE_S))

    def _call(
        self, action: str, service: str, role: str, missing: str, permission: str = "", resource: str = ""
    ) -> Call:
        """What errors say. `role`: one that allows it."""
        project = self._profile.project
        return Call(
            action=f"{action} in project {project}",
            resource=resource or f"project {project}",
            project=project,
            service=service,
            permission=permission,
            member=_credentials.member(_credentials.load(self._profile.credentials)),
            grant=f"gcloud projects add-iam-policy-binding {project} --role=roles/{role} --member={{member}}",
            missing=missing,
        )


def base(endpoint: str) -> str:
    """An endpoint that paths are put behind."""
    return endpoint.rstrip("/")
