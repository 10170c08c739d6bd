"""From a path to the table's row: `/<host>/<version>/<collection>/<id>/…:<verb>`."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim.google_calls import PROJECT_NUMBER
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.services import admin, gke, handler, project
from launcher.sim.services.backend import Backend, Call, Kind, Service, addressed, missing
from launcher.sim.services.body import json_body
from launcher.sim.services.tables import SERVICES
from launcher.sim.state import Body
from launcher.sim.tpu_names import check_project
from launcher.sim.tpu_schema import camel

_METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]
_BILLING_ACCOUNT = re.compile(r"[0-9A-F]{6}(-[0-9A-F]{6}){2}")
_LOCATION = re.compile(r"[a-z]+-[a-z]+[0-9]+(-[a-z])?|global|us|eu|europe|asia|-")


def routes(backend: Backend) -> list[Route]:
    """The routes of every service that the tables know; the last of a server, for they take any path of two parts."""

    async def serve(request: Request) -> Response:
        parts = _parts(request)
        service = SERVICES.get(parts[0])
        if not parts[0].endswith(".googleapis.com"):
            raise HTTPException(404)
        if service is None:
            raise GoogleError(404, f"The simulator has no service {parts[0]}.", reason="notFound")
        if (operation := _operation(backend, service, parts)) is not None:
            return json_answer(addressed(operation, _base_url(request)))
        call = _call(backend, service, parts, request)
        call.body = await json_body(request)
        return json_answer(addressed(await handler.answer(call), _base_url(request)))

    async def pods(request: Request) -> Response:
        found = admin.pods_of(backend, request.path_params["endpoint"])
        return json_answer(gke.pods(found, dict(request.query_params)))

    return [
        *admin.routes(backend),
        *project.routes(backend),
        Route("/{endpoint}/api/v1/pods", answering(pods), methods=["GET"]),
        Route("/{host}/{rest:path}", answering(serve), methods=_METHODS),
    ]


def match(service: Service, parts: list[str]) -> tuple[Kind, list[str], str | None, str] | None:
    """The kind that a path is about, the parts before it, the resource's id if it names one, and a custom verb.

    `parts` are the path's, host first, undecoded: a colon that is part of a name is %3A.
    """
    *front, last = parts[1:]
    last, _, action = last.partition(":")
    for version, kinds in service.versions.items():
        length = version.count("/") + 1
        if "/".join(parts[1 : 1 + length]) != version:
            continue
        below = [*front, last][length:]
        for kind in kinds:
            pattern = kind.path.split("/")
            found = below[: len(pattern)]
            if len(found) < len(pattern) or not all(a in ("*", b) for a, b in zip(pattern, found, strict=True)):
                continue
            rest = below[len(pattern) :]
            if len(rest) == 2 and version == "compute/v1" and not action:  # its verbs come after a slash
                return kind, found[:-1], rest[0], rest[1]
            if len(rest) < 2 and all(rest):
                return kind, found[:-1], rest[0] if rest else None, action
    return None


def _call(backend: Backend, service: Service, parts: list[str], request: Request) -> Call:
    matched = match(service, parts)
    if matched is None:
        path = "/".join(parts[1:])
        raise GoogleError(404, f"The simulator's {service.host} has no {request.method} {path}.", reason="notFound")
    kind, parent, identifier, action = matched
    return Call(
        backend=backend,
        service=service,
        kind=kind,
        method=request.method,
        parent="/".join(_checked(backend, service, [unquote(part) for part in parent])),
        id=None if identifier is None else unquote(identifier),
        action=action,
        query={camel(name): value for name, value in request.query_params.items()},
        body={},
    )


def _checked(backend: Backend, service: Service, parent: list[str]) -> list[str]:
    """The parts of a parent, its project by id. 403 and 404 for parents that nobody has."""
    if parent[0] == "billingAccounts":
        if not _BILLING_ACCOUNT.fullmatch(parent[1]):
            raise missing(service, "/".join(parent))
        return parent
    if parent[1] in (PROJECT_NUMBER, "-"):
        parent[1] = backend.project
    check_project(parent[1], backend.project, service.host)
    if len(parent) > 3 and parent[2] in ("locations", "regions", "zones") and not _LOCATION.fullmatch(parent[3]):
        message = f"Permission denied on 'locations/{parent[3]}' (or it may not exist)."
        raise GoogleError(403, message, "PERMISSION_DENIED", reason="forbidden")
    return parent


def _operation(backend: Backend, service: Service, parts: list[str]) -> Body | None:
    """The operation that a path asks about; None where it asks for something else."""
    version = next((each for each in service.versions if "/".join(parts[1:]).startswith(f"{each}/")), None)
    if version is None or "operations" not in parts[-3:-1]:
        return None
    below = [unquote(part) for part in parts[2 + version.count("/") :]]
    name = "/".join(below[:-1] if below[-1] == "wait" else below)  # Compute Engine's way to wait for it
    if (found := backend.store.operations.get(f"{service.host}/{name}")) is None:
        raise missing(service, name)
    return found


def _parts(request: Request) -> list[str]:
    """The path's segments as they were sent: a slash in a name is %2F."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("latin-1").split("/")[1:]


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
