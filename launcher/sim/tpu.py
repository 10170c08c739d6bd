"""The Cloud TPU API v2 over REST: routes and handlers."""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim import catalog, tpu_names
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.state import Body
from launcher.sim.tpu_guest import guest_attributes
from launcher.sim.tpu_lifecycle import Lifecycle
from launcher.sim.tpu_paging import page, query_parameters
from launcher.sim.tpu_requests import check_changeable, checked_node, checked_queued_resource, node_names
from launcher.sim.tpu_schema import bad_request, camel, parse

_LOCATION = "/v2/projects/{project}/locations/{location}"
_PAGED = ("pageSize", "pageToken")
_CHANGEABLE = frozenset({"description", "labels", "metadata", "tags", "dataDisks"})
_EXTERNAL_IPS = "networkConfig.enableExternalIps"


def routes(lifecycle: Lifecycle, project: str) -> list[Route]:
    """The routes of the service, serving one project."""
    service = _Service(lifecycle, project)
    table = [
        ("GET", "/v2/projects/{project}/locations", service.list_locations),
        ("GET", _LOCATION, service.get_location),
        ("GET", f"{_LOCATION}/acceleratorTypes", service.list_accelerator_types),
        ("GET", f"{_LOCATION}/acceleratorTypes/{{id}}", service.get_accelerator_type),
        ("GET", f"{_LOCATION}/runtimeVersions", service.list_runtime_versions),
        ("GET", f"{_LOCATION}/runtimeVersions/{{id}}", service.get_runtime_version),
        ("POST", f"{_LOCATION}/nodes/{{id}}:getGuestAttributes", service.get_guest_attributes),
        ("POST", f"{_LOCATION}/nodes/{{id}}:stop", service.stop_node),
        ("POST", f"{_LOCATION}/nodes/{{id}}:start", service.start_node),
        ("GET", f"{_LOCATION}/nodes", service.list_nodes),
        ("POST", f"{_LOCATION}/nodes", service.create_node),
        ("GET", f"{_LOCATION}/nodes/{{id}}", service.get_node),
        ("PATCH", f"{_LOCATION}/nodes/{{id}}", service.update_node),
        ("DELETE", f"{_LOCATION}/nodes/{{id}}", service.delete_node),
        ("GET", f"{_LOCATION}/queuedResources", service.list_queued_resources),
        ("POST", f"{_LOCATION}/queuedResources", service.create_queued_resource),
        ("GET", f"{_LOCATION}/queuedResources/{{id}}", service.get_queued_resource),
        ("DELETE", f"{_LOCATION}/queuedResources/{{id}}", service.delete_queued_resource),
        ("GET", f"{_LOCATION}/operations", service.list_operations),
        ("GET", f"{_LOCATION}/operations/{{id}}", service.get_operation),
    ]
    return [Route(path, answering(handler), methods=[method]) for method, path, handler in table]


class _Service:
    def __init__(self, lifecycle: Lifecycle, project: str) -> None:
        self._lifecycle = lifecycle
        self._state = lifecycle.state
        self._project = project

    # Locations, accelerator types, runtime versions

    async def list_locations(self, request: Request) -> Response:
        tpu_names.check_project(request.path_params["project"], self._project)
        parameters = query_parameters(request, *_PAGED, "filter")
        return json_answer(page("locations", [_location(self._project, z) for z in catalog.ZONES], parameters))

    async def get_location(self, request: Request) -> Response:
        self._parent(request)
        query_parameters(request)
        return json_answer(_location(self._project, request.path_params["location"]))

    async def list_accelerator_types(self, request: Request) -> Response:
        parent = self._parent(request)
        parameters = query_parameters(request, *_PAGED, "filter", "orderBy")
        offered = catalog.accelerators(request.path_params["location"])
        types = [_accelerator_type(parent, each) for each in offered]
        return json_answer(page("acceleratorTypes", types, parameters))

    async def get_accelerator_type(self, request: Request) -> Response:
        parent = self._parent(request)
        query_parameters(request)
        found = catalog.accelerator(request.path_params["location"], request.path_params["id"])
        if found is None:
            raise tpu_names.not_found(f"{parent}/acceleratorTypes/{request.path_params['id']}")
        return json_answer(_accelerator_type(parent, found))

    async def list_runtime_versions(self, request: Request) -> Response:
        parent = self._parent(request)
        parameters = query_parameters(request, *_PAGED, "filter", "orderBy")
        versions = [_runtime_version(parent, each) for each in catalog.RUNTIME_VERSIONS]
        return json_answer(page("runtimeVersions", versions, parameters))

    async def get_runtime_version(self, request: Request) -> Response:
        parent = self._parent(request)
        query_parameters(request)
        version = request.path_params["id"]
        if version not in catalog.RUNTIME_VERSIONS:
            raise tpu_names.not_found(f"{parent}/runtimeVersions/{version}")
        return json_answer(_runtime_version(parent, version))

    # Nodes

    async def list_nodes(self, request: Request) -> Response:
        return self._list(request, "nodes", self._state.nodes)

    async def get_node(self, request: Request) -> Response:
        return json_answer(self._state.nodes[self._existing(request, "nodes", self._state.nodes)])

    async def create_node(self, request: Request) -> Response:
        parent = self._parent(request)
        parameters = query_parameters(request, "nodeId", "requestId")
        node = parse("Node", await _json_body(request), "node")
        node_id = parameters.get("nodeId") or f"node-{secrets.token_hex(6)}"
        tpu_names.check_node_id(node_id)
        name, request_id = f"{parent}/nodes/{node_id}", parameters.get("requestId", "")
        if (repeated := self._lifecycle.operations.repeated("create", name, request_id)) is not None:
            return json_answer(repeated)
        checked = checked_node(node, request.path_params["location"])
        if name in self._state.nodes:
            raise tpu_names.already_exists(name)
        scheduling = checked.get("schedulingConfig", {})
        spot = scheduling.get("spot", False) or scheduling.get("preemptible", False)
        self._lifecycle.check_quota(name, checked, spot=spot)
        return json_answer(self._lifecycle.create_node(name, checked, request_id))

    async def update_node(self, request: Request) -> Response:
        name = self._existing(request, "nodes", self._state.nodes, "updateMask")
        node = parse("Node", await _json_body(request), "node")
        mask = query_parameters(request, "updateMask").get("updateMask", "")
        changes = self._changes(name, node, [camel(path.strip()) for path in mask.split(",") if path.strip()])
        return json_answer(self._lifecycle.update_node(name, changes))

    async def delete_node(self, request: Request) -> Response:
        name = self._existing(request, "nodes", self._state.nodes, "requestId")
        return json_answer(await self._lifecycle.delete_node(name))

    async def stop_node(self, request: Request) -> Response:
        name = self._existing(request, "nodes", self._state.nodes)
        parse("StopNodeRequest", await _json_body(request), "")
        return json_answer(self._lifecycle.stop_node(name))

    async def start_node(self, request: Request) -> Response:
        name = self._existing(request, "nodes", self._state.nodes)
        parse("StartNodeRequest", await _json_body(request), "")
        return json_answer(self._lifecycle.start_node(name))

    async def get_guest_attributes(self, request: Request) -> Response:
        name = self._existing(request, "nodes", self._state.nodes)
        wanted = parse("GetGuestAttributesRequest", await _json_body(request), "")
        if (state := self._state.nodes[name]["state"]) != "READY":
            raise tpu_names.failed_precondition(f"Node '{name}' is in state {state}; it has no guest attributes.")
        workers = [worker.guest_attributes for worker in self._lifecycle.workers_of(name)]
        return json_answer(guest_attributes(workers, wanted.get("queryPath", ""), wanted.get("workerIds", [])))

    # Queued resources and operations

    async def list_queued_resources(self, request: Request) -> Response:
        return self._list(request, "queuedResources", self._state.queued_resources)

    async def get_queued_resource(self, request: Request) -> Response:
        name = self._existing(request, "queuedResources", self._state.queued_resources)
        return json_answer(self._state.queued_resources[name])

    async def create_queued_resource(self, request: Request) -> Response:
        parent = self._parent(request)
        parameters = query_parameters(request, "queuedResourceId", "requestId")
        body = parse("QueuedResource", await _json_body(request), "queued_resource")
        resource_id = parameters.get("queuedResourceId") or f"qr-{secrets.token_hex(6)}"
        tpu_names.check_queued_resource_id(resource_id)
        name, request_id = f"{parent}/queuedResources/{resource_id}", parameters.get("requestId", "")
        if (repeated := self._lifecycle.operations.repeated("create", name, request_id)) is not None:
            return json_answer(repeated)
        checked = checked_queued_resource(body, self._project, request.path_params["location"])
        if name in self._state.queued_resources:
            raise tpu_names.already_exists(name)
        for node in node_names(checked, name):
            tpu_names.check_node_id(tpu_names.short(node))
            if node in self._state.nodes:
                raise tpu_names.already_exists(node)
            wanted = checked_node(checked["tpu"]["nodeSpec"][0]["node"], request.path_params["location"])
            self._lifecycle.check_quota(node, wanted, spot="spot" in checked)
        return json_answer(self._lifecycle.create_queued_resource(name, checked, request_id))

    async def delete_queued_resource(self, request: Request) -> Response:
        parameters = query_parameters(request, "force", "requestId")
        force = _boolean("force", parameters.get("force", "false"))
        request_id = parameters.get("requestId", "")
        name = f"{self._parent(request)}/queuedResources/{request.path_params['id']}"
        if (repeated := self._lifecycle.operations.repeated("delete", name, request_id)) is not None:
            return json_answer(repeated)
        if name not in self._state.queued_resources:
            raise tpu_names.not_found(name)
        operation = await self._lifecycle.delete_queued_resource(name, force=force, request_id=request_id)
        return json_answer(operation)

    async def list_operations(self, request: Request) -> Response:
        return self._list(request, "operations", self._state.operations, "filter")

    async def get_operation(self, request: Request) -> Response:
        name = self._existing(request, "operations", self._state.operations)
        return json_answer(self._state.operations[name])

    # Parts of the above

    def _parent(self, request: Request) -> str:
        tpu_names.check_project(request.path_params["project"], self._project)
        tpu_names.check_location(request.path_params["location"])
        return tpu_names.location_name(self._project, request.path_params["location"])

    def _existing(self, request: Request, kind: str, table: dict[str, Body], *parameters: str) -> str:
        """The full name of the resource that the path names; 404 when `table` does not have it."""
        name = f"{self._parent(request)}/{kind}/{request.path_params['id']}"
        query_parameters(request, *parameters)
        if name not in table:
            raise tpu_names.not_found(name)
        return name

    def _list(self, request: Request, kind: str, table: dict[str, Body], *more: str) -> Response:
        prefix = f"{self._parent(request)}/{kind}/"
        parameters = query_parameters(request, *_PAGED, *more)
        found = [table[name] for name in sorted(table) if name.startswith(prefix)]
        return json_answer(page(kind, found, parameters))

    def _changes(self, name: str, node: Body, paths: list[str]) -> Body:
        """The top-level fields of a node that an update with these mask paths replaces."""
        if not paths:
            raise bad_request([("update_mask", "The update mask must name at least one field.")])
        changes: dict[str, Any] = {}
        for path in paths:
            if path == _EXTERNAL_IPS:
                enabled = node.get("networkConfig", {}).get("enableExternalIps", False)
                changes["networkConfig"] = {
                    **self._state.nodes[name]["networkConfig"],
                    "enableExternalIps": enabled,
                }
            elif path in _CHANGEABLE:
                empty: Any = "" if path == "description" else [] if path in ("tags", "dataDisks") else {}
                changes[path] = node.get(path, empty)
            else:
                raise bad_request([("update_mask", f'The update mask has the invalid field "{path}".')])
        check_changeable(changes)
        return changes


def _location(project: str, zone: str) -> Body:
    return {
        "name": tpu_names.location_name(project, zone),
        "locationId": zone,
        "labels": {"cloud.googleapis.com/region": catalog.region(zone)},
    }


def _accelerator_type(parent: str, each: catalog.Accelerator) -> Body:
    config = {"type": each.config_type, "topology": each.topology}
    return {
        "name": f"{parent}/acceleratorTypes/{each.name}",
        "type": each.name,
        "acceleratorConfigs": [config],
    }


def _runtime_version(parent: str, version: str) -> Body:
    return {"name": f"{parent}/runtimeVersions/{version}", "version": version}


async def _json_body(request: Request) -> object:
    content = await request.body()
    if not content.strip():
        return {}
    try:
        return json.loads(content)
    except ValueError as error:
        raise GoogleError(400, f"Invalid JSON payload received. {error}", "INVALID_ARGUMENT") from error


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false", "True", "False"):  # proto's query binding takes both spellings
        raise bad_request([(name, f"Invalid value at '{name}' (TYPE_BOOL), \"{text}\"")])
    return text.lower() == "true"
