"""google_tpu_v2_vm and google_tpu_v2_queued_resource against the Cloud TPU API."""

from __future__ import annotations

from typing import Any

from tests.terraform.standin.cloud import Cloud, CloudError, Json
from tests.terraform.standin.live import Field, body, first, known, observed, observed_labels
from tests.terraform.standin.values import Object


def _network_to_api(value: Any) -> Json | None:
    block = first(value)
    if not block:
        return None
    return {
        "canIpForward": bool(block.get("can_ip_forward")),
        "enableExternalIps": bool(block.get("enable_external_ips")),
        **{name: block[name] for name in ("network", "subnetwork") if block.get(name)},
        **({"queueCount": block["queue_count"]} if block.get("queue_count") else {}),
    }


def _network_from_api(value: Any) -> list[Object]:
    if not value:
        return []
    return [
        {
            "can_ip_forward": value.get("canIpForward", False),
            "enable_external_ips": value.get("enableExternalIps", False),
            "network": value.get("network"),
            "queue_count": value.get("queueCount"),
            "subnetwork": value.get("subnetwork"),
        }
    ]


def _flags(*names: str) -> tuple[Any, Any]:
    """A block of flags that are all sent."""

    def to_api(value: Any) -> Json | None:
        return {name: bool(first(value).get(name)) for name in names} if first(value) else None

    def from_api(value: Any) -> list[Object]:
        return [{name: bool(value.get(name)) for name in names}] if value else []

    return to_api, from_api


def _texts(*names: str) -> tuple[Any, Any]:
    """A block of arguments that are spelled alike."""

    def to_api(value: Any) -> Json | None:
        return {name: first(value)[name] for name in names if first(value).get(name)} or None

    def from_api(value: Any) -> list[Object]:
        return [{name: value.get(name) for name in names}] if value else []

    return to_api, from_api


def _disks_to_api(value: Any) -> list[Json]:
    return [{"mode": each["mode"], "sourceDisk": each["source_disk"]} for each in value or []]


def _disks_from_api(value: Any) -> list[Object]:
    return [{"mode": each.get("mode"), "source_disk": each.get("sourceDisk")} for each in value or []]


def _endpoints_from_api(value: Any) -> list[Object]:
    return [
        {
            "access_config": [{"external_ip": (each.get("accessConfig") or {}).get("externalIp")}],
            "ip_address": each.get("ipAddress"),
            "port": each.get("port"),
        }
        for each in value or []
    ]


_NAME = Field("name", "name", from_api=lambda value: value.rpartition("/")[2])
_CHANGEABLE = (
    Field("description", "description"),
    Field("data_disks", "dataDisks", _disks_to_api, _disks_from_api),
    Field("metadata", "metadata"),
    Field("tags", "tags"),
)
_GIVEN = (
    _NAME,
    *_CHANGEABLE,
    Field("accelerator_config", "acceleratorConfig", *_texts("topology", "type")),
    Field("accelerator_type", "acceleratorType"),
    Field("cidr_block", "cidrBlock"),
    Field("network_config", "networkConfig", _network_to_api, _network_from_api),
    Field("runtime_version", "runtimeVersion"),
    Field("scheduling_config", "schedulingConfig", *_flags("preemptible", "reserved", "spot")),
    Field("service_account", "serviceAccount", *_texts("email", "scope")),
)
_TOLD = (
    Field("api_version", "apiVersion"),
    Field("health", "health"),
    Field("health_description", "healthDescription"),
    Field("multislice_node", "multisliceNode", from_api=bool),
    Field("network_endpoints", "networkEndpoints", from_api=_endpoints_from_api),
    Field("queued_resource", "queuedResource"),
    Field("state", "state"),
    Field("symptoms", "symptoms", from_api=lambda value: []),
)


class Vm:
    """google_tpu_v2_vm"""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, planned: Object) -> Object:
        for unsaid in ("network_configs", "shielded_instance_config"):
            if planned.get(unsaid):
                raise CloudError(f"Error creating Vm: the stand-in cannot say {unsaid}")
        node = body(_GIVEN, planned) | {"labels": known(planned["effective_labels"])}
        parent = _parent(planned)
        try:
            operation = self._cloud.call("POST", f"{parent}/nodes", node, nodeId=planned["name"])
            self._cloud.wait(operation, "Creating Vm")
        except CloudError as exc:
            raise CloudError(f"Error creating Vm: {exc}") from exc
        return self._read(planned) or _gone("Vm", planned)

    def read(self, state: Object) -> Object | None:
        return self._read(state)

    def update(self, prior: Object, planned: Object) -> Object:
        mask = [each.name for each in _CHANGEABLE if prior[each.argument] != planned[each.argument]]
        mask += ["labels"] if prior["effective_labels"] != planned["effective_labels"] else []
        if mask:
            node = body(_CHANGEABLE, planned) | {"labels": known(planned["effective_labels"])}
            try:
                operation = self._cloud.call("PATCH", _node(planned), node, updateMask=",".join(mask))
                self._cloud.wait(operation, "Updating Vm")
            except CloudError as exc:
                raise CloudError(f'Error updating Vm "{_node(planned)}": {exc}') from exc
        return self._read(planned) or _gone("Vm", planned)

    def delete(self, prior: Object) -> None:
        _delete(self._cloud, _node(prior), "Vm")

    def _read(self, state: Object) -> Object | None:
        node = self._cloud.find(_node(state))
        if node is None:
            return None
        return observed((*_GIVEN, *_TOLD), state, node) | observed_labels(state, node) | {"id": _node(state)}


def _spec_to_api(value: Any) -> Json | None:
    specs = first(value).get("node_spec") or []
    return {"nodeSpec": [_node_spec_to_api(each) for each in specs]} if specs else None


def _node_spec_to_api(spec: Object) -> Json:
    node = first(spec["node"])
    said = {
        "acceleratorType": node.get("accelerator_type"),
        "description": node.get("description"),
        "networkConfig": _network_to_api(node.get("network_config")),
        "runtimeVersion": node.get("runtime_version"),
    }
    out: Json = {"node": {name: value for name, value in said.items() if value}, "parent": spec["parent"]}
    return out | ({"nodeId": spec["node_id"]} if spec.get("node_id") else {})


def _spec_from_api(value: Any) -> list[Object]:
    specs = []
    for spec in (value or {}).get("nodeSpec", []):
        node = spec.get("node") or {}
        inner = {
            "accelerator_type": node.get("acceleratorType"),
            "description": node.get("description"),
            "network_config": _network_from_api(node.get("networkConfig")),
            "runtime_version": node.get("runtimeVersion"),
        }
        specs.append({"node": [inner], "node_id": spec.get("nodeId"), "parent": spec.get("parent")})
    return [{"node_spec": specs}] if value else []


class QueuedResource:
    """google_tpu_v2_queued_resource"""

    _FIELDS = (_NAME, Field("tpu", "tpu", _spec_to_api, _spec_from_api))

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, planned: Object) -> Object:
        path = f"{_parent(planned)}/queuedResources"
        try:
            operation = self._cloud.call("POST", path, body(self._FIELDS, planned), queuedResourceId=planned["name"])
            self._cloud.wait(operation, "Creating QueuedResource")
        except CloudError as exc:
            raise CloudError(f"Error creating QueuedResource: {exc}") from exc
        return self.read(planned) or _gone("QueuedResource", planned)

    def read(self, state: Object) -> Object | None:
        found = self._cloud.find(_queued_resource(state))
        return None if found is None else observed(self._FIELDS, state, found) | {"id": _queued_resource(state)}

    def update(self, prior: Object, planned: Object) -> Object:
        return self.read(planned) or _gone("QueuedResource", planned)  # nothing of it can be changed

    def delete(self, prior: Object) -> None:
        _delete(self._cloud, _queued_resource(prior), "QueuedResource")  # without force: refused while it is ACTIVE


def _parent(state: Object) -> str:
    return f"projects/{state['project']}/locations/{state['zone']}"


def _node(state: Object) -> str:
    return f"{_parent(state)}/nodes/{state['name']}"


def _queued_resource(state: Object) -> str:
    return f"{_parent(state)}/queuedResources/{state['name']}"


def _delete(cloud: Cloud, path: str, what: str) -> None:
    try:
        operation = cloud.call("DELETE", path)
    except CloudError as exc:
        if exc.status == 404:
            return
        raise CloudError(f"Error when reading or editing {what}: {exc}") from exc
    cloud.wait(operation, f"Deleting {what}")


def _gone(what: str, state: Object) -> Object:
    raise CloudError(f"Error reading {what} {state['name']}: it was gone right after it had been written")
