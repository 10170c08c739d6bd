"""platform.json in the control bucket: what Terraform made, what may be created there, and what it made itself."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any, TypeVar

from launcher.records import codec
from launcher.records.clusters import IDLE_S
from launcher.records.leases import KEEP_WARM_S, MAX_LIFETIME_S, Lease
from launcher.records.policy import PolicySettings

SCHEMA = 1
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Pool:
    """What the launcher may create: so many nodes at once of one accelerator, in these zones, in order.

    `keep_warm_s` and `max_lifetime_s` are both what a call gets and the most that it may ask for.
    """

    name: str
    accelerator: str
    zones: tuple[str, ...]
    spot: bool = False
    reservation: str | None = None
    runtime_version: str | None = None
    max_nodes: int = 1
    keep_warm_s: float = KEEP_WARM_S
    max_lifetime_s: float = MAX_LIFETIME_S
    max_usd_per_hour: float | None = None  # list price of one node
    shared: bool = False  # warm nodes are for every owner


@dataclasses.dataclass(frozen=True)
class StandingNode:
    """A node that Terraform made. A queued resource of Terraform's cannot carry labels: this entry is what makes the
    node one of the platform's."""

    node: str
    zone: str
    accelerator: str
    queued_resource: str | None = None
    spot: bool = False
    runtime_version: str = ""
    keep_warm_s: float = KEEP_WARM_S
    max_lifetime_s: float = MAX_LIFETIME_S

    @property
    def resource(self) -> str:
        """What can be deleted, and what its lease is called after."""
        return self.queued_resource or self.node

    def unleased(self, settings: PolicySettings) -> PolicySettings:
        """What holds of the node while it has no lease."""
        grace_s = max(settings.grace_s, self.keep_warm_s)
        return dataclasses.replace(settings, grace_s=grace_s, max_lifetime_s=self.max_lifetime_s)

    def within(self, lease: Lease) -> Lease:
        """The node's lease, with what Terraform says of it: it may have been used before it was registered."""
        return dataclasses.replace(
            lease,
            standing=True,
            external=False,
            keep_warm_s=self.keep_warm_s,
            max_lifetime_s=self.max_lifetime_s,
            warm_until=0.0,
        )


@dataclasses.dataclass(frozen=True)
class IdleShutdown:
    """Seconds; as in records/policy.py."""

    drain_s: float = 5 * 60.0
    grace_s: float = 10 * 60.0
    keep_warm_s: float = KEEP_WARM_S
    max_lifetime_s: float = MAX_LIFETIME_S


@dataclasses.dataclass(frozen=True)
class Gke:
    """The platform's cluster."""

    cluster: str
    location: str
    dns_endpoint: str | None = None
    idle_s: float = IDLE_S  # of a pool or of all of it, before the idle shutdown acts
    delete_idle: bool = False


@dataclasses.dataclass(frozen=True)
class PlatformFile:
    """`service_account` is None where there are teams, each with its own in `service_accounts`."""

    schema: int
    platform: str
    project: str
    zones: tuple[str, ...]
    bucket: str
    control_bucket: str
    region: str = ""
    connect: str = "iap"
    external_ip: bool = True
    internet: bool = True  # whether nodes reach more than Google's APIs
    network: str = ""
    subnetwork: str = ""
    service_account: str | None = None
    service_accounts: dict[str, str] = dataclasses.field(default_factory=dict)
    images: str = ""
    python_index: str = ""
    idle_shutdown: IdleShutdown = dataclasses.field(default_factory=IdleShutdown)
    pools: dict[str, Pool] = dataclasses.field(default_factory=dict)
    nodes: tuple[StandingNode, ...] = ()
    gke: Gke | None = None

    def standing(self, zone: str, resource: str) -> StandingNode | None:
        """The registered node that this queued resource has, or that stands alone under this id."""
        return next((each for each in self.nodes if (each.zone, each.resource) == (zone, resource)), None)

    def named(self, zone: str, name: str) -> StandingNode | None:
        """The registered node that somebody calls `name`: its id, its queued resource's, or its key in Terraform."""
        return next((each for each in self.nodes if each.zone == zone and name in self._names(each)), None)

    def _names(self, node: StandingNode) -> tuple[str, ...]:
        return node.node, node.resource, node.resource.removeprefix(f"{self.platform}-")


def parse(data: bytes) -> PlatformFile:
    """The platform in the file's bytes. Unknown keys are ignored; ValueError with every problem, one a line."""
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise ValueError(f"not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {type(document).__name__}")
    problems: list[str] = []
    plain = {key: value for key, value in document.items() if key not in ("gke", "idle_shutdown", "nodes", "pools")}
    values: dict[str, Any] = {
        "pools": {
            name: _record(Pool, {**_object(pool, f"pools.{name}", problems), "name": name}, f"pools.{name}", problems)
            for name, pool in _object(document.get("pools"), "pools", problems).items()
        },
        "nodes": tuple(
            _record(StandingNode, _object(node, f"nodes[{number}]", problems), f"nodes[{number}]", problems)
            for number, node in enumerate(_list(document.get("nodes"), "nodes", problems))
        ),
        "idle_shutdown": _record(
            IdleShutdown,
            _object(document.get("idle_shutdown"), "idle_shutdown", problems),
            "idle_shutdown",
            problems,
        ),
    }
    if document.get("gke") is not None:
        values["gke"] = _record(Gke, _object(document["gke"], "gke", problems), "gke", problems)
    found = _record(PlatformFile, plain, "", problems)
    if problems or found is None:
        schema = document.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            problems.insert(0, f"schema {schema} is newer than this launcher knows ({SCHEMA}): upgrade it")
        raise ValueError("\n".join(problems))
    return dataclasses.replace(found, **values)


def _record(cls: type[T], document: dict[str, Any], where: str, problems: list[str]) -> T | None:
    """`document` as `cls`; null counts as left out. None, and a line for each problem, where it is not one."""
    values: dict[str, Any] = {}
    before = len(problems)
    for name, read, required in codec.fields(typing.cast(Any, cls)):
        place = f"{where}.{name}".lstrip(".")
        value = document.get(name)
        if value is None:
            if required:
                problems.append(f"{place} is missing")
            continue
        try:
            values[name] = read(value)
        except (TypeError, ValueError) as exc:
            problems.append(f"{place}: {exc}")
        else:
            if required and values[name] in ("", ()):
                problems.append(f"{place} is empty")
            if type(values[name]) in (int, float) and not 0 <= values[name] < math.inf:
                problems.append(f"{place}: must be a number, 0 or more, not {value}")
    return cls(**values) if len(problems) == before else None


def _object(value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    problems.append(f"{where}: expected an object, got {type(value).__name__}")
    return {}


def _list(value: Any, where: str, problems: list[str]) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    problems.append(f"{where}: expected a list, got {type(value).__name__}")
    return []
