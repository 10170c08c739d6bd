"""Every Google service below one port: which of them a request is for.

`/<host>/<path>` is what Terraform's and gcloud's endpoint settings make of a service's own path. Cloud TPU and Cloud
Storage are served at the root; so are, for clients with one endpoint, a few paths of three others.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from launcher.sim.google_calls import IAM, RESOURCE_MANAGER, SERVICE_USAGE, STORAGE, TPU

_AT_ROOT = (f"/{TPU}/v2", f"/{STORAGE}/storage", f"/{STORAGE}/upload", f"/{STORAGE}/download")
_SHORT = {
    RESOURCE_MANAGER: re.compile(r"/v[13]/projects/[^/]+"),
    IAM: re.compile(r"/v1/projects/[^/]+/serviceAccounts/[^/]+"),
    SERVICE_USAGE: re.compile(r"/v1(?:beta1)?/projects/[^/]+/services(?:[/:].*)?|/v1/operations/.*"),
}


class Hosts:
    """ASGI middleware that gives each path its one form: at the root for TPU and storage, else below its host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under that path."""
        path, raw = scope["path"], scope["raw_path"]
        if path.startswith(_AT_ROOT):
            host = path[: path.index("/", 1)]
            path, raw = path[len(host) :], raw[len(host) :]
        elif service := next((host for host, short in _SHORT.items() if short.fullmatch(path)), None):
            path, raw = f"/{service}{path}", f"/{service}".encode() + raw
        await self._app(scope if path == scope["path"] else {**scope, "path": path, "raw_path": raw}, receive, send)
