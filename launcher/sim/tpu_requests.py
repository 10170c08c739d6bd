"""What a node or a queued resource must be before Google accepts it, and the defaults it then gets."""

from __future__ import annotations

import re
from typing import Any

from launcher.sim import catalog
from launcher.sim.clock import parse_timestamp
from launcher.sim.http import GoogleError
from launcher.sim.state import Body
from launcher.sim.tpu_names import check_node_id, location_name
from launcher.sim.tpu_schema import duration_s

_NODE_OUTPUT_ONLY = frozenset(
    {
        "name", "state", "healthDescription", "createTime", "networkEndpoints", "health", "id", "apiVersion",
        "symptoms", "queuedResource", "multisliceNode",
    }
)  # fmt: skip
_LABEL_KEY = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_LABEL_VALUE = re.compile(r"^[a-z0-9_-]{0,63}$")
_TAG = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_METADATA_KEY = re.compile(r"^[A-Za-z0-9_-]{1,128}$")
_METADATA_VALUE_BYTES = 256 * 1024
_METADATA_BYTES = 512 * 1024
_RESERVATION = re.compile(r"^projects/[^/]+/locations/[^/]+/reservations/[^/]+$")


def checked_node(node: Body, zone: str) -> Body:
    """`node` as the service keeps it: output-only fields dropped, type and topology filled in.

    Raises GoogleError 400 for what Google refuses.
    """
    body = {key: value for key, value in node.items() if key not in _NODE_OUTPUT_ONLY}
    offered = _accelerator(body, zone)
    body["acceleratorType"] = offered.name
    body["acceleratorConfig"] = {"type": offered.config_type, "topology": offered.topology}
    version = body.get("runtimeVersion", "")
    if version not in catalog.RUNTIME_VERSIONS:
        raise _invalid(
            f'The "runtimeVersion" value "{version}" is not available in "{zone}"; it must be one of: '
            + ", ".join(catalog.RUNTIME_VERSIONS)
        )
    if "networkConfig" in body and "networkConfigs" in body:
        raise _invalid('"networkConfig" and "networkConfigs" are mutually exclusive.')
    check_changeable(body)
    return body


def check_changeable(body: Body) -> None:
    """Refuse a description, labels, tags or metadata outside the service's limits."""
    if len(body.get("description", "")) > 512:
        raise _invalid("The description is longer than 512 characters.")
    labels = body.get("labels", {})
    if len(labels) > 64:
        raise _invalid(f"{len(labels)} labels were given; a resource can have 64.")
    for key, value in labels.items():
        if not _LABEL_KEY.match(key) or not _LABEL_VALUE.match(value):
            raise _invalid(f'The label "{key}": "{value}" is not valid (lower case, digits, "_" and "-", 63).')
    for tag in body.get("tags", []):
        if not _TAG.match(tag):
            raise _invalid(f'The tag "{tag}" is not valid.')
    _check_metadata(body.get("metadata", {}))


def _check_metadata(metadata: dict[str, str]) -> None:
    total = 0
    for key, value in metadata.items():
        size = len(value.encode())
        total += len(key) + size
        if not _METADATA_KEY.match(key):
            raise _invalid(f'The metadata key "{key}" is not valid.')
        if size > _METADATA_VALUE_BYTES:
            raise _invalid(f'The metadata value of "{key}" has {size} bytes; {_METADATA_VALUE_BYTES} are allowed.')
    if total > _METADATA_BYTES:
        raise _invalid(f"The metadata has {total} bytes in all; {_METADATA_BYTES} are allowed.")


def _accelerator(body: Body, zone: str) -> catalog.Accelerator:
    name = body.get("acceleratorType", "")
    config = body.get("acceleratorConfig")
    if name and config:
        raise _invalid('Only one of "acceleratorType" and "acceleratorConfig" can be given.')
    if config:
        found = catalog.accelerator_of_config(zone, config.get("type", ""), config.get("topology", ""))
        name = f"{config.get('type')} {config.get('topology')}"
    else:
        found = catalog.accelerator(zone, name)
    if found is None:
        raise _invalid(f'AcceleratorType "{name}" does not exist in location "{zone}".')
    return found


def checked_queued_resource(body: Body, project: str, zone: str) -> Body:
    """`body` as the service keeps it: output-only fields dropped. Raises GoogleError 400 where refused."""
    kept = {key: value for key, value in body.items() if key not in ("name", "createTime", "state")}
    specs = kept.get("tpu", {}).get("nodeSpec", [])
    if len(specs) != 1:
        raise _invalid(f'"tpu.nodeSpec" must have exactly one entry; it has {len(specs)}.')
    reservation = kept.get("reservationName")
    if reservation is not None and not _RESERVATION.match(reservation):
        raise _invalid(f'The reservation name "{reservation}" is not valid.')
    _check_spec(specs[0], project, zone)
    if ("spot" in kept or "guaranteed" in kept) and "schedulingConfig" in specs[0]["node"]:
        raise _invalid(
            '"schedulingConfig" of a node must not be set when the queued resource has "spot" or "guaranteed".'
        )
    if "validInterval" in kept.get("queueingPolicy", {}):
        _check_interval(kept["queueingPolicy"]["validInterval"])
    return kept


def _check_spec(spec: dict[str, Any], project: str, zone: str) -> None:
    parent = location_name(project, zone)
    if spec.get("parent") != parent:
        raise _invalid(f'The parent of a node must be "{parent}"; it is "{spec.get("parent", "")}".')
    if "node" not in spec:
        raise _invalid('"tpu.nodeSpec[0].node" is missing.')
    if "nodeId" in spec:
        check_node_id(spec["nodeId"])
    elif "multisliceParams" in spec:
        params = spec["multisliceParams"]
        if params.get("nodeCount", 0) < 2:
            raise _invalid('"multisliceParams.nodeCount" must be greater than 1.')
        if "nodeIdPrefix" in params:
            check_node_id(params["nodeIdPrefix"] + "-0")
    else:
        raise _invalid('One of "nodeId" and "multisliceParams" must be given.')
    checked_node(spec["node"], zone)


def _check_interval(interval: dict[str, str]) -> None:
    start, end = interval.get("startTime"), interval.get("endTime")
    if start and end and parse_timestamp(start) > parse_timestamp(end):
        raise _invalid('"validInterval" ends before it starts.')


def node_names(body: Body, queued_resource_name: str) -> list[str]:
    """Full names of the nodes that a queued resource asks for."""
    names = []
    for spec in body["tpu"]["nodeSpec"]:
        params = spec.get("multisliceParams")
        if params is None:
            ids = [spec["nodeId"]]
        else:
            prefix = params.get("nodeIdPrefix") or queued_resource_name.rsplit("/", 1)[-1]
            ids = [f"{prefix}-{index}" for index in range(params["nodeCount"])]
        names += [f"{spec['parent']}/nodes/{each}" for each in ids]
    return names


def window(body: Body) -> tuple[float, float]:
    """(not before, not after) in epoch seconds, from the queueing policy and the createTime."""
    policy = body.get("queueingPolicy", {})
    created = parse_timestamp(body["createTime"])
    interval = policy.get("validInterval", {})
    start, end = created, float("inf")
    if "validAfterDuration" in policy:
        start = created + duration_s(policy["validAfterDuration"])
    if "validUntilDuration" in policy:
        end = created + duration_s(policy["validUntilDuration"])
    if after := policy.get("validAfterTime") or interval.get("startTime"):
        start = parse_timestamp(after)
    if until := policy.get("validUntilTime") or interval.get("endTime"):
        end = parse_timestamp(until)
    return start, end


def _invalid(message: str) -> GoogleError:
    return GoogleError(400, f"Cloud TPU received an invalid argument. {message}", "INVALID_ARGUMENT")
