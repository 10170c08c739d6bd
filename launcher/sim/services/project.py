"""The project itself: Cloud Resource Manager, its billing, and Service Usage with its quotas."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim import catalog, quotas, tpu_names
from launcher.sim.google_calls import IAM, PROJECT_NUMBER, RESOURCE_MANAGER, SERVICE_USAGE, STORAGE, TPU
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.services import iam
from launcher.sim.services.backend import Backend, invalid
from launcher.sim.services.body import json_body
from launcher.sim.state import Body
from launcher.sim.tpu_paging import page, query_parameters

_BILLING_ACCOUNT = "billingAccounts/000000-000000-000000"
_CREATED = "2026-01-01T00:00:00Z"
# Those that the recorded provider calls only after it enabled them. Others it uses before, as Google lets one for a
# while, and in the recording nothing stands in their way; a fault, `disabled-api`, disables any.
_NEEDED = frozenset(
    f"{name}.googleapis.com" for name in ("cloudfunctions", "cloudscheduler", "compute", "container", "run")
)
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
_MOST_PERMISSIONS = 100
_MOST_SERVICES = {"batchGet": 30, "batchEnable": 20}
_SERVICE = re.compile(r"[a-z][a-z0-9-]*\.googleapis\.com")


def is_disabled(backend: Backend, host: str) -> bool:
    """Whether calls to a service are refused because nobody has enabled it."""
    return host in backend.faults.values("disabled-api") or (host in _NEEDED and host not in backend.store.enabled)


def routes(backend: Backend) -> list[Route]:
    """The routes of the three APIs, for one project."""
    ours = _Project(backend)
    services = f"/{SERVICE_USAGE}/v1/projects/{{project}}/services"
    table = [
        ("GET", f"/{RESOURCE_MANAGER}/v1/projects/{{project}}", ours.get),
        ("GET", f"/{RESOURCE_MANAGER}/v3/projects/{{project}}", ours.get_v3),
        ("POST", f"/{RESOURCE_MANAGER}/v1/projects/{{project}}:{{action}}", ours.policy),
        ("POST", f"/{RESOURCE_MANAGER}/v3/projects/{{project}}:{{action}}", ours.policy),
        ("POST", f"/{IAM}/v1/projects/{{project}}/serviceAccounts/{{email}}:testIamPermissions", ours.test_account),
        ("GET", "/cloudbilling.googleapis.com/v1/projects/{project}/billingInfo", ours.billing),
        ("GET", services, ours.list_services),
        ("GET", f"{services}:batchGet", ours.batch_get),
        ("POST", f"{services}:batchEnable", ours.batch_enable),
        ("POST", f"{services}/{{service}}:{{action}}", ours.turn),
        ("GET", f"{services}/{{service}}", ours.get_service),
        ("GET", f"/{SERVICE_USAGE}/v1/operations/noop.DONE_OPERATION", ours.operation),
        (
            "GET",
            f"/{SERVICE_USAGE}/v1beta1/projects/{{project}}/services/{{service}}/consumerQuotaMetrics",
            ours.quotas,
        ),
    ]
    return [Route(path, answering(handler), methods=[method]) for method, path, handler in table]


class _Project:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._id = backend.project

    # Resource Manager, IAM, billing

    async def get(self, request: Request) -> Response:
        self._check(request, RESOURCE_MANAGER)
        parent = {"type": "organization", "id": "1"}
        body = {"projectNumber": PROJECT_NUMBER, "projectId": self._id, "lifecycleState": "ACTIVE", "name": self._id}
        return json_answer({**body, "createTime": _CREATED, "parent": parent})

    async def get_v3(self, request: Request) -> Response:
        self._check(request, RESOURCE_MANAGER)
        body = {"name": f"projects/{PROJECT_NUMBER}", "parent": "organizations/1", "projectId": self._id}
        return json_answer({**body, "state": "ACTIVE", "displayName": self._id, "createTime": _CREATED})

    async def policy(self, request: Request) -> Response:
        self._check(request, RESOURCE_MANAGER)
        body, action = await json_body(request), request.path_params["action"]
        if action == "testIamPermissions":
            return json_answer(_held(self._backend, body))
        key = f"{RESOURCE_MANAGER}/projects/{self._id}"
        return json_answer(iam.answer(self._backend, key, request.method, action, body, reads="POST"))

    async def test_account(self, request: Request) -> Response:
        """An account of the project need not have been created: the project a simulator begins with has one."""
        email = request.path_params["email"]
        if not email.endswith(f"@{self._id}.iam.gserviceaccount.com"):
            raise GoogleError(404, f"Service account projects/-/serviceAccounts/{email} does not exist.", "NOT_FOUND")
        return json_answer(_held(self._backend, await json_body(request)))

    async def billing(self, request: Request) -> Response:
        self._check(request, "cloudbilling.googleapis.com")
        body = {"name": f"projects/{self._id}/billingInfo", "projectId": self._id, "billingEnabled": True}
        return json_answer({**body, "billingAccountName": _BILLING_ACCOUNT})

    # Service Usage

    async def list_services(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        parameters = query_parameters(request, "filter", "pageSize", "pageToken")
        # Google lists every service there is. Those that somebody met are known here.
        disabled = map(str, self._backend.faults.values("disabled-api"))
        known = dict.fromkeys([*self._backend.store.enabled, TPU, STORAGE, *disabled])
        wanted = parameters.get("filter", "").removeprefix("state:")
        services = [self._service(name) for name in known]
        found = [service for service in services if service["state"] == wanted or not wanted]
        return json_answer({"services": []} | page("services", found, parameters))

    async def batch_get(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        names = request.query_params.getlist("names")
        if not 0 < len(names) <= _MOST_SERVICES["batchGet"]:
            raise invalid()
        prefix = f"projects/{request.path_params['project']}/services/"
        for name in names:
            if not name.startswith(prefix):
                raise invalid(f"The parent of {name} is not {prefix.removesuffix('/services/')}.")
        return json_answer({"services": [self._service(name.removeprefix(prefix)) for name in names]})

    async def batch_enable(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        wanted = (await json_body(request)).get("serviceIds")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= _MOST_SERVICES["batchEnable"]:
            raise invalid()
        return self._turned(wanted, on=True)

    async def turn(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        action = request.path_params["action"]
        if action not in ("enable", "disable"):
            raise GoogleError(404, f"The simulator has no services:{action}.", reason="notFound")
        return self._turned([request.path_params["service"]], on=action == "enable")

    async def get_service(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        return json_answer(self._service(request.path_params["service"]))

    async def operation(self, request: Request) -> Response:
        return json_answer(_DONE)

    async def quotas(self, request: Request) -> Response:
        self._check(request, SERVICE_USAGE)
        parameters = query_parameters(request, "pageSize", "pageToken", "view")
        if request.path_params["service"] != TPU:
            return json_answer({})
        used_up = {zone for zone in catalog.ZONES if self._backend.faults.find("quota", zone=zone, node=None)}
        parent = f"projects/{self._id}/services/{TPU}"
        return json_answer(page("metrics", quotas.metrics(parent, used_up), parameters))

    # Parts of the above

    def _check(self, request: Request, service: str) -> None:
        project = request.path_params["project"]
        if ":" in project:  # a custom verb by another method than it has
            raise GoogleError(404, f"The simulator has no {request.method} {request.url.path}.", reason="notFound")
        if project != PROJECT_NUMBER:
            tpu_names.check_project(project, self._id, service)

    def _turned(self, asked: list[object], *, on: bool) -> Response:
        names = [name for name in asked if isinstance(name, str) and _SERVICE.fullmatch(name)]
        if len(names) < len(asked):
            unknown = ", ".join(str(name) for name in asked if name not in names)
            message = f"Not found or permission denied for service(s): {unknown}."
            raise GoogleError(403, message, "PERMISSION_DENIED", reason="forbidden")
        store = self._backend.store
        kept = store.enabled if on else [each for each in store.enabled if each not in names]
        store.enabled = list(dict.fromkeys([*kept, *names])) if on else kept
        store.save()
        return json_answer(_DONE)

    def _service(self, name: str) -> Body:
        disabled = name in self._backend.faults.values("disabled-api") or name not in self._backend.store.enabled
        parent = f"projects/{PROJECT_NUMBER}"
        state = "DISABLED" if disabled else "ENABLED"
        return {"name": f"{parent}/services/{name}", "parent": parent, "state": state, "config": {"name": name}}


_DONE: Body = {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}


def _held(backend: Backend, body: Body) -> Body:
    """testIamPermissions of the project and of an account, which refuses what is no permission."""
    asked = body.get("permissions")
    if not isinstance(asked, list):
        raise invalid()
    for permission in asked[:_MOST_PERMISSIONS]:
        if not _is_permission(permission):
            raise invalid(f"Permission {permission} is not valid for this resource.")
    if len(asked) > _MOST_PERMISSIONS:
        raise invalid()
    return iam.held(backend, body)


def _is_permission(text: object) -> bool:
    if not isinstance(text, str) or not _PERMISSION.fullmatch(text):
        return False
    return text in _TPU_PERMISSIONS if text.startswith("tpu.") else True
