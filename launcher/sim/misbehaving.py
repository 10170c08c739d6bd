"""Faults that strike whole requests, in front of every service: what is refused, cut short or never answered."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from launcher.sim.google_calls import PROJECT_NUMBER, STORAGE, TPU, GoogleCall, identify
from launcher.sim.guard import HANG_UP
from launcher.sim.http import GoogleError
from launcher.sim.services import Backend, calls, project

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class Misbehaving:
    """ASGI middleware over the simulated services of one project."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend
        self._faults = backend.faults
        self._caller = f"simulated@{backend.project}.iam.gserviceaccount.com"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, refuse it, or let it take effect and hang up."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        call = identify(scope["method"], scope["path"], dict(query)) or calls.identify(
            scope["method"], scope["raw_path"]
        )
        if call is None:
            await self._app(scope, receive, send)
        elif (error := self._refusal(call)) is not None:
            while (await receive()).get("more_body", False):  # who is still sending would see a broken pipe
                pass
            await error.answer()(scope, receive, send)
        elif call.writes and self._lost(call):
            await self._app(scope, receive, _swallow)
            scope[HANG_UP]()
            await asyncio.sleep(0)  # until the connection knows that it is gone
        else:
            await self._app(self._narrowed(scope, call, query), receive, send)

    def _lost(self, call: GoogleCall) -> bool:
        which = {TPU: "tpu", STORAGE: "storage"}.get(call.service)
        return which is not None and self._faults.take("lost-answer", zone=call.zone, value=which) is not None

    def _refusal(self, call: GoogleCall) -> GoogleError | None:
        if project.is_disabled(self._backend, call.service):
            return _disabled(call)
        if call.service == TPU and call.zone is not None:
            if self._faults.find("zone-down", zone=call.zone):
                return GoogleError(503, "The service is currently unavailable.", "UNAVAILABLE")
            if self._faults.find("forbidden", zone=call.zone):
                return self._denied(call, call.permissions[0])
        missing = [each for each in call.permissions if each in self._faults.values("missing-permission")]
        return self._denied(call, missing[0]) if missing else None

    def _denied(self, call: GoogleCall, permission: str) -> GoogleError:
        if call.service == STORAGE:
            message = (
                f"{self._caller} does not have {permission} access to the Google Cloud Storage "
                f"{'bucket' if '.buckets.' in permission else 'object'}. Permission '{permission}' denied on resource "
                "(or it may not exist)."
            )
            return GoogleError(403, message, reason="forbidden")
        metadata = {"permission": permission, "resource": call.resource}
        info = {"@type": _ERROR_INFO, "reason": "IAM_PERMISSION_DENIED", "domain": call.service, "metadata": metadata}
        message = (
            f"Permission '{permission}' denied on resource '//{call.service}/{call.resource}' (or it may not exist)."
        )
        return GoogleError(403, message, details=[info])

    def _narrowed(self, scope: Scope, call: GoogleCall, query: list[tuple[str, str]]) -> Scope:
        """The request as the service is to see it: smaller pages, and no permissions that are missing."""
        missing = self._faults.values("missing-permission")
        kept = [(key, value) for key, value in query if not (key == "permissions" and value in missing)]
        size = self._faults.find("page-size") if call.paged else None
        if size is not None:
            asked = [int(value) for key, value in kept if key == call.paged and value.isdecimal() and int(value)]
            kept = [each for each in kept if each[0] != call.paged]
            kept.append((call.paged, str(min([int(size.seconds), *asked]))))
        return scope if kept == query else {**scope, "query_string": urlencode(kept).encode()}


def _disabled(call: GoogleCall) -> GoogleError:
    page = f"https://console.developers.google.com/apis/api/{call.service}/overview?project={PROJECT_NUMBER}"
    title = calls.TITLES[call.service]
    message = (
        f"{title} has not been used in project {PROJECT_NUMBER} before or it is disabled. Enable it by "
        f"visiting {page} then retry. If you enabled this API recently, wait a few minutes for the action to "
        "propagate to our systems and retry."
    )
    links = [{"description": "Google developers console API activation", "url": page}]
    metadata: dict[str, Any] = {
        "service": call.service,
        "serviceTitle": title,
        "consumer": f"projects/{PROJECT_NUMBER}",
        "activationUrl": page,
    }
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": links},
        {"@type": _ERROR_INFO, "reason": "SERVICE_DISABLED", "domain": "googleapis.com", "metadata": metadata},
    ]
    reason = "accessNotConfigured" if call.service == STORAGE else None
    return GoogleError(403, message, reason=reason, details=details)


async def _swallow(_: Message) -> None:
    """The answer that nobody hears."""
