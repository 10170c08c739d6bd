"""Resource names of the Cloud TPU API, and the answers for names that are wrong, taken or not there."""

from __future__ import annotations

import re

from launcher.sim import catalog
from launcher.sim.http import GoogleError

_NODE_ID = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_QUEUED_RESOURCE_ID = re.compile(r"^[A-Za-z0-9_.~+%-]{1,63}$")


def location_name(project: str, location: str) -> str:
    """`projects/P/locations/Z`."""
    return f"projects/{project}/locations/{location}"


def short(name: str) -> str:
    """The last part of a full resource name."""
    return name.rsplit("/", 1)[-1]


def zone_of(name: str) -> str:
    """The location of a full resource name."""
    return name.split("/")[3]


def project_of(name: str) -> str:
    """The project of a full resource name."""
    return name.split("/")[1]


def check_project(project: str, ours: str, service: str = "tpu.googleapis.com") -> None:
    """Refuse every project but the simulator's own, as Google refuses one the caller has no part in."""
    if project != ours:
        raise GoogleError(
            403,
            f"Permission denied on resource project {project}.",
            "PERMISSION_DENIED",
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "CONSUMER_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"consumer": f"projects/{project}", "service": service},
                }
            ],
        )


def check_location(location: str) -> None:
    """Refuse a location that has no TPUs."""
    if location not in catalog.ZONES:
        raise GoogleError(
            403, f"Permission denied on 'locations/{location}' (or it may not exist).", "PERMISSION_DENIED"
        )


def check_node_id(node_id: str) -> None:
    """Refuse a node id that could not be a host name."""
    _check_id(node_id, _NODE_ID, "node")


def check_queued_resource_id(queued_resource_id: str) -> None:
    """Refuse a queued resource id outside Google's pattern."""
    _check_id(queued_resource_id, _QUEUED_RESOURCE_ID, "queued resource")


def _check_id(value: str, pattern: re.Pattern[str], kind: str) -> None:
    if not pattern.match(value):
        raise GoogleError(400, f'Invalid {kind} id "{value}": it must match the pattern "{pattern.pattern}".')


def not_found(name: str) -> GoogleError:
    """404 for a resource that does not exist."""
    return GoogleError(404, f"Resource '{name}' was not found", "NOT_FOUND", details=[_resource_info(name)])


def already_exists(name: str) -> GoogleError:
    """409 for a resource that exists."""
    return GoogleError(409, f"Resource '{name}' already exists", "ALREADY_EXISTS", details=[_resource_info(name)])


def failed_precondition(message: str) -> GoogleError:
    """400 for a request that the resource's state does not allow."""
    return GoogleError(400, message, "FAILED_PRECONDITION")


def _resource_info(name: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.ResourceInfo", "resourceName": name}
