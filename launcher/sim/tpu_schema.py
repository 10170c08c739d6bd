"""The JSON form of the Cloud TPU v2 messages: which fields exist, of what type, and Google's words when not."""

from __future__ import annotations

import re
from typing import Any

from launcher.sim.clock import parse_timestamp
from launcher.sim.http import GoogleError

#: message -> field -> type. `[]` before a type: repeated. `map`: string to string. Capitalised: message or enum.
MESSAGES: dict[str, dict[str, str]] = {
    "QueuedResource": {
        "name": "string",
        "createTime": "timestamp",
        "tpu": "Tpu",
        "spot": "Spot",
        "guaranteed": "Guaranteed",
        "queueingPolicy": "QueueingPolicy",
        "state": "QueuedResourceState",
        "reservationName": "string",
    },
    "Tpu": {"nodeSpec": "[]NodeSpec"},
    "NodeSpec": {
        "parent": "string",
        "nodeId": "string",
        "multisliceParams": "MultisliceParams",
        "node": "Node",
    },
    "MultisliceParams": {"nodeCount": "int32", "nodeIdPrefix": "string"},
    "Spot": {},
    "Guaranteed": {"minDuration": "duration"},
    "QueueingPolicy": {
        "validUntilDuration": "duration",
        "validUntilTime": "timestamp",
        "validAfterDuration": "duration",
        "validAfterTime": "timestamp",
        "validInterval": "Interval",
    },
    "Interval": {"startTime": "timestamp", "endTime": "timestamp"},
    "QueuedResourceState": {
        "state": "QueuedResourceState.State",
        "creatingData": "Empty",
        "acceptedData": "Empty",
        "provisioningData": "Empty",
        "failedData": "FailedData",
        "deletingData": "Empty",
        "activeData": "Empty",
        "suspendingData": "Empty",
        "suspendedData": "Empty",
        "stateInitiator": "QueuedResourceState.StateInitiator",
    },
    "FailedData": {"error": "Status"},
    "Status": {"code": "int32", "message": "string"},
    "Empty": {},
    "Node": {
        "name": "string",
        "description": "string",
        "acceleratorType": "string",
        "state": "Node.State",
        "healthDescription": "string",
        "runtimeVersion": "string",
        "networkConfig": "NetworkConfig",
        "networkConfigs": "[]NetworkConfig",
        "cidrBlock": "string",
        "serviceAccount": "ServiceAccount",
        "createTime": "timestamp",
        "schedulingConfig": "SchedulingConfig",
        "networkEndpoints": "[]NetworkEndpoint",
        "health": "Node.Health",
        "labels": "map",
        "metadata": "map",
        "tags": "[]string",
        "id": "int64",
        "dataDisks": "[]AttachedDisk",
        "apiVersion": "Node.ApiVersion",
        "symptoms": "[]Symptom",
        "shieldedInstanceConfig": "ShieldedInstanceConfig",
        "acceleratorConfig": "AcceleratorConfig",
        "queuedResource": "string",
        "multisliceNode": "bool",
    },
    "NetworkConfig": {
        "network": "string",
        "subnetwork": "string",
        "enableExternalIps": "bool",
        "canIpForward": "bool",
        "queueCount": "int32",
    },
    "ServiceAccount": {"email": "string", "scope": "[]string"},
    "SchedulingConfig": {"preemptible": "bool", "reserved": "bool", "spot": "bool"},
    "NetworkEndpoint": {"ipAddress": "string", "port": "int32", "accessConfig": "AccessConfig"},
    "AccessConfig": {"externalIp": "string"},
    "AttachedDisk": {"sourceDisk": "string", "mode": "AttachedDisk.DiskMode"},
    "Symptom": {
        "createTime": "timestamp",
        "symptomType": "Symptom.SymptomType",
        "details": "string",
        "workerId": "string",
    },
    "ShieldedInstanceConfig": {"enableSecureBoot": "bool"},
    "AcceleratorConfig": {"type": "AcceleratorConfig.Type", "topology": "string"},
    "GetGuestAttributesRequest": {"queryPath": "string", "workerIds": "[]string"},
    "StopNodeRequest": {},
    "StartNodeRequest": {},
}

#: Members of each enum in the order of their numbers; None where a number is not used.
ENUMS: dict[str, tuple[str | None, ...]] = {
    "QueuedResourceState.State": (
        "STATE_UNSPECIFIED", "CREATING", "ACCEPTED", "PROVISIONING", "FAILED", "DELETING", "ACTIVE",
        "SUSPENDING", "SUSPENDED", "WAITING_FOR_RESOURCES",
    ),
    "QueuedResourceState.StateInitiator": ("STATE_INITIATOR_UNSPECIFIED", "USER", "SERVICE"),
    "Node.State": (
        "STATE_UNSPECIFIED", "CREATING", "READY", "RESTARTING", "REIMAGING", "DELETING", "REPAIRING", None,
        "STOPPED", "STOPPING", "STARTING", "PREEMPTED", "TERMINATED", "HIDING", "HIDDEN", "UNHIDING", "UNKNOWN",
    ),
    "Node.Health": (
        "HEALTH_UNSPECIFIED", "HEALTHY", None, "TIMEOUT", "UNHEALTHY_TENSORFLOW", "UNHEALTHY_MAINTENANCE",
    ),
    "Node.ApiVersion": ("API_VERSION_UNSPECIFIED", "V1_ALPHA1", "V1", "V2_ALPHA1", "V2"),
    "AttachedDisk.DiskMode": ("DISK_MODE_UNSPECIFIED", "READ_WRITE", "READ_ONLY"),
    "Symptom.SymptomType": (
        "SYMPTOM_TYPE_UNSPECIFIED", "LOW_MEMORY", "OUT_OF_MEMORY", "EXECUTE_TIMED_OUT", "MESH_BUILD_FAIL",
        "HBM_OUT_OF_MEMORY", "PROJECT_ABUSE",
    ),
    "AcceleratorConfig.Type": (
        "TYPE_UNSPECIFIED", None, "V2", None, "V3", None, None, "V4", None, "V5LITE_POD", "V5P", "V6E",
    ),
}  # fmt: skip

#: message -> name of the oneof -> fields of which at most one may be set.
ONEOFS: dict[str, dict[str, tuple[str, ...]]] = {
    "QueuedResource": {"tier": ("spot", "guaranteed")},
    "NodeSpec": {"name_strategy": ("nodeId", "multisliceParams")},
    "QueueingPolicy": {
        "start_timing_constraints": (
            "validUntilDuration",
            "validUntilTime",
            "validAfterDuration",
            "validAfterTime",
            "validInterval",
        )
    },
}

_DURATION = re.compile(r"^-?\d+(\.\d{1,9})?s$")
_PYTHON_TYPE: dict[str, type] = {"string": str, "bool": bool, "map": dict}


def snake(name: str) -> str:
    """`queuedResource` as `queued_resource`, the spelling of Google's error messages."""
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def camel(name: str) -> str:
    """`update_mask` as `updateMask`."""
    return re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), name)


def duration_s(text: str) -> float:
    """Seconds of a duration in JSON form, such as `"3.5s"`."""
    return float(text.removesuffix("s"))


def bad_request(violations: list[tuple[str, str]]) -> GoogleError:
    """400 INVALID_ARGUMENT for (field, description) pairs, all of them in the message and the details."""
    return GoogleError(
        400,
        "\n".join(description for _, description in violations),
        "INVALID_ARGUMENT",
        details=[
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": description} for field, description in violations],
            }
        ],
    )


def parse(message: str, value: object, at: str) -> dict[str, Any]:
    """`value` (decoded JSON) as `message`, its keys in camelCase. `at` is the path named in errors.

    Raises GoogleError 400 naming every unknown field and every value of a wrong type.
    """
    violations: list[tuple[str, str]] = []
    parsed = _message(message, value, at, violations)
    if violations:
        raise bad_request(violations)
    return parsed


def _message(message: str, value: object, at: str, violations: list[tuple[str, str]]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _invalid(at, f"type.googleapis.com/google.cloud.tpu.v2.{message}", value, violations)
        return {}
    fields = {snake(name): name for name in MESSAGES[message]}
    parsed: dict[str, Any] = {}
    for key, item in value.items():
        name = fields.get(snake(key))
        if name is None:
            where = f" at '{at}'" if at else ""
            text = f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.'
            violations.append((at, text))
        elif item is not None:  # null is an unset field in proto JSON
            path = f"{at}.{snake(name)}" if at else snake(name)
            parsed[name] = _value(MESSAGES[message][name], item, path, violations)
    for oneof, names in ONEOFS.get(message, {}).items():
        given = [name for name in names if name in parsed]
        for extra in given[1:]:
            text = f"oneof field '{oneof}' is already set. Cannot set '{camel(extra)}'"
            violations.append((at, f"Invalid value at '{at}' (oneof), {text}"))
    return parsed


def _value(kind: str, value: object, at: str, violations: list[tuple[str, str]]) -> Any:
    if kind.startswith("[]"):
        items = value if isinstance(value, list) else [value]
        return [_value(kind[2:], item, f"{at}[{i}]", violations) for i, item in enumerate(items)]
    if kind in MESSAGES:
        return _message(kind, value, at, violations)
    if kind in ENUMS:
        return _enum(kind, value, at, violations)
    if kind in ("int32", "int64"):
        return _integer(kind, value, at, violations)
    if kind in ("timestamp", "duration"):
        return _time(kind, value, at, violations)
    if not isinstance(value, _PYTHON_TYPE[kind]):
        _invalid(at, "TYPE_" + ("STRING" if kind == "map" else kind.upper()), value, violations)
        return value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(item, str):
                _invalid(f"{at}[{key}].value", "TYPE_STRING", item, violations)
    return value


def _enum(kind: str, value: object, at: str, violations: list[tuple[str, str]]) -> Any:
    members = ENUMS[kind]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
        value = members[value]
    if not isinstance(value, str) or value not in members:
        _invalid(at, f"type.googleapis.com/google.cloud.tpu.v2.{kind}", value, violations)
    return value


def _integer(kind: str, value: object, at: str, violations: list[tuple[str, str]]) -> Any:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return str(int(value)) if kind == "int64" else int(value)
    except ValueError:
        pass  # reported just below, with the other wrong types
    _invalid(at, f"TYPE_{kind.upper()}", value, violations)
    return value


def _time(kind: str, value: object, at: str, violations: list[tuple[str, str]]) -> Any:
    try:
        if kind == "duration" and isinstance(value, str) and _DURATION.match(value):
            return value
        if kind == "timestamp" and isinstance(value, str):
            parse_timestamp(value)
            return value
    except ValueError:
        pass  # reported just below, with the other wrong types
    _invalid(at, f"type.googleapis.com/google.protobuf.{kind.capitalize()}", value, violations)
    return value


def _invalid(at: str, kind: str, value: object, violations: list[tuple[str, str]]) -> None:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    violations.append((at, f"Invalid value at '{at}' ({kind}), {shown}"))
