"""What a project says of itself: Cloud Resource Manager's testIamPermissions, and Service Usage with its quotas."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim import catalog, quotas, tpu_names
from launcher.sim.faults import Faults
from launcher.sim.google_calls import TPU
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.state import Body
from launcher.sim.tpu_paging import page, query_parameters

_PERMISSION = re.compile(r"[a-z]+\.[A-Za-z]+\.[A-Za-z]+")
#: All that Cloud TPU has; a name outside the list is refused, as Google refuses it.
_TPU_PERMISSIONS = frozenset(
    f"tpu.{kind}.{verb}"
    for kind, verbs in {
        "acceleratortypes": "get list",
        "locations": "get list",
        "nodes": "create createTagBinding delete deleteTagBinding get list listEffectiveTags listTagBindings "
        "performMaintenance reimage reset simulateMaintenanceEvent start stop update",
        "operations": "get list",
        "runtimeversions": "get list",
        "tensorflowversions": "get list",
    }.items()
    for verb in verbs.split()
)
_MOST_AT_ONCE = {"permissions": 100, "services": 30}


def routes(faults: Faults, project: str) -> list[Route]:
    """The routes of both APIs, for one project."""
    service = _Project(faults, project)
    table = [
        *(("POST", f"/{version}/projects/{{project}}:testIamPermissions", service.test) for version in ("v1", "v3")),
        ("POST", "/v1/projects/{project}/serviceAccounts/{email}:testIamPermissions", service.test_account),
        ("GET", "/v1/projects/{project}/services", service.list_services),
        ("GET", "/v1/projects/{project}/services:batchGet", service.batch_get),
        ("GET", "/v1/projects/{project}/services/{service}", service.get_service),
        ("GET", "/v1beta1/projects/{project}/services/{service}/consumerQuotaMetrics", service.quotas),
    ]
    return [Route(path, answering(handler), methods=[method]) for method, path, handler in table]


class _Project:
    def __init__(self, faults: Faults, project: str) -> None:
        self._faults = faults
        self._project = project

    async def test(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        return await self._held(request)

    async def test_account(self, request: Request) -> Response:
        email = request.path_params["email"]
        if not email.endswith(f"@{self._project}.iam.gserviceaccount.com"):
            raise GoogleError(404, f"Service account projects/-/serviceAccounts/{email} does not exist.", "NOT_FOUND")
        return await self._held(request)

    async def _held(self, request: Request) -> Response:
        try:
            asked: list[Any] = json.loads(await request.body())["permissions"]
        except (ValueError, KeyError, TypeError) as error:
            raise GoogleError(400, "Request contains an invalid argument.") from error
        for permission in asked[:100]:
            if not _is_permission(permission):
                raise GoogleError(400, f"Permission {permission} is not valid for this resource.")
        if len(asked) > _MOST_AT_ONCE["permissions"]:
            raise GoogleError(400, "Request contains an invalid argument.")
        missing = self._faults.values("missing-permission")
        held = [each for each in asked if each not in missing]
        return json_answer({"permissions": held} if held else {})

    async def list_services(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        parameters = query_parameters(request, "filter", "pageSize", "pageToken")
        # Google lists every service there is. Those that the launcher meets are known here.
        known = sorted({TPU, "storage.googleapis.com", *self._faults.values("disabled-api")})
        wanted = parameters.get("filter", "").removeprefix("state:")
        services = [self._service(name) for name in known]
        return json_answer(page("services", [s for s in services if s["state"] == wanted or not wanted], parameters))

    async def batch_get(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        names = request.query_params.getlist("names")
        if not 0 < len(names) <= _MOST_AT_ONCE["services"]:
            raise GoogleError(400, "Request contains an invalid argument.")
        prefix = f"projects/{self._project}/services/"
        for name in names:
            if not name.startswith(prefix):
                raise GoogleError(400, f"The parent of {name} is not {prefix.removesuffix('/services/')}.")
        return json_answer({"services": [self._service(name.removeprefix(prefix)) for name in names]})

    async def get_service(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        return json_answer(self._service(request.path_params["service"]))

    async def quotas(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        parameters = query_parameters(request, "pageSize", "pageToken", "view")
        if request.path_params["service"] != TPU:
            return json_answer({})
        used_up = {zone for zone in catalog.ZONES if self._faults.find("quota", zone=zone, node=None)}
        parent = f"projects/{self._project}/services/{TPU}"
        return json_answer(page("metrics", quotas.metrics(parent, used_up), parameters))

    def _service(self, name: str) -> Body:
        state = "DISABLED" if name in self._faults.values("disabled-api") else "ENABLED"
        parent = f"projects/{self._project}"
        return {"name": f"{parent}/services/{name}", "parent": parent, "state": state, "config": {"name": name}}


def _is_permission(text: object) -> bool:
    if not isinstance(text, str) or not _PERMISSION.fullmatch(text):
        return False
    return text in _TPU_PERMISSIONS if text.startswith("tpu.") else True
