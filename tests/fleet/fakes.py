"""A platform in memory: bucket, TPU API and clock, each of which can fail at any call."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from launcher.cloud.seams import (
    Endpoint,
    GuestAttributes,
    Node,
    NodeSpec,
    ObjectInfo,
    QueuedResource,
    Target,
    TpuQuota,
)
from launcher.config import Profile
from launcher.errors import Conflict, ConnectError, NotFound
from launcher.fleet.platform import Platform
from launcher.records import codec
from launcher.records.jobs import Blob, JobRecord
from launcher.records.paths import JobPaths, new_job_id
from launcher.records.swap import Stored
from tests.records.store import MemoryStore

T = TypeVar("T")
ZONE = "us-central1-a"
NOTHING = Blob("0" * 64, 0)


class Clock:
    """Waits take no time, and are counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            self.now += seconds
        else:
            time.sleep(0)
        return event.wait(0.001) if event is not None else False


class Calls:
    """What was asked, in order. `fail`: raises in the place of a call."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fail: Callable[[int, str], BaseException | None] = lambda number, name: None

    def __call__(self, name: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.made.append(name)
        error = self.fail(len(self.made), name)
        if error is not None:
            raise error


class Store(MemoryStore):
    bucket = "b"

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def read(self, name: str) -> Stored | None:
        self._calls("read")
        return super().read(name)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        self._calls("write")
        return super().replace(name, data, generation)

    def stat(self, name: str) -> ObjectInfo | None:
        found = super().read(name)
        return None if found is None else ObjectInfo(name, len(found.data), "", found.generation, found.updated)

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "") -> Iterator[ObjectInfo]:
        folders = set()
        for name in sorted(self._objects):
            if not name.startswith(prefix) or name <= start_after:
                continue
            head, folder, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if folder and head not in folders:
                folders.add(head)
                yield ObjectInfo(f"{prefix}{head}{delimiter}", 0, "", 0, 0.0)
            elif not folder:
                data, generation, updated = self._objects[name]
                yield ObjectInfo(name, len(data), "", generation, updated)

    def download(self, name: str, target: BinaryIO, start: int = 0) -> int | None:
        return target.write(self._objects[name][0][start:]) if name in self._objects else None

    def upload(self, name: str, source: BinaryIO, size: int, crc32c: str = "") -> bool:
        raise NotImplementedError


class Nodes:
    """Queued resources that are ACTIVE at once, until deleted."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.specs: dict[str, NodeSpec] = {}
        self.zones: dict[str, str] = {}  # of each queued resource
        self.metadata: dict[str, dict[str, str]] = {}  # of each node
        self.state = "ACTIVE"
        self.node_state = "READY"
        self.creating: Callable[[], None] = lambda: None

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        self.creating()
        self._calls("create")
        if spec.queued_resource in self.specs:
            raise Conflict("it exists")
        self.specs[spec.queued_resource] = spec
        self.zones[spec.queued_resource] = zone
        self.metadata[spec.node] = spec.metadata
        self._calls("created")

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None:
        self._calls("get")
        spec = self.specs.get(queued_resource)
        return None if spec is None else self._resource(spec)

    def list_queued_resources(self, zone: str) -> Iterator[QueuedResource]:
        self._calls("list")
        return map(self._resource, self._in(zone))

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        self._calls("delete")
        self.specs.pop(queued_resource, None)

    def delete_node(self, zone: str, node: str) -> None:
        self._calls("delete node")

    def get_node(self, zone: str, node: str) -> Node | None:
        self._calls("get node")
        return next((self._node(spec) for spec in self.specs.values() if spec.node == node), None)

    def list_nodes(self, zone: str) -> Iterator[Node]:
        self._calls("list nodes")
        return map(self._node, self._in(zone))

    def list_accelerators(self, zone: str) -> Iterator[str]:
        self._calls("list accelerators")
        return iter(["v5litepod-1", "v5litepod-8"])

    def set_metadata(self, zone: str, node: str, metadata: dict[str, str]) -> None:
        self._calls("set metadata")
        if all(spec.node != node for spec in self.specs.values()):
            raise NotFound(f"there is no node {node}")
        self.metadata[node] = metadata

    def guest_attributes(self, zone: str, node: str) -> tuple[GuestAttributes, ...]:
        self._calls("guest attributes")
        return (GuestAttributes({"ssh-ed25519": "AAAA"}),)

    def _in(self, zone: str) -> list[NodeSpec]:
        return [spec for name, spec in self.specs.items() if self.zones.get(name, zone) == zone]

    def _resource(self, spec: NodeSpec) -> QueuedResource:
        return QueuedResource(
            spec.queued_resource,
            self.state,
            nodes=(spec.node,),
            labels=spec.labels,
            spot=spec.spot,
            reservation=spec.reservation,
        )

    def _node(self, spec: NodeSpec) -> Node:
        return Node(
            spec.node,
            self.node_state,
            (Endpoint("127.0.0.1", "127.0.0.1"),),
            accelerator=spec.accelerator,
            metadata=self.metadata.get(spec.node, spec.metadata),
            labels=spec.labels,
            runtime_version=spec.runtime_version,
            queued_resource=spec.queued_resource,
            spot=spec.spot,
        )


class Project:
    """A project in which everything is allowed, until a test says otherwise."""

    def __init__(self) -> None:
        self.email = "ada@example.com"
        self.missing: set[str] = set()  # permissions, anywhere
        self.disabled: set[str] = set()
        self.quotas = (TpuQuota("tpu-v5s-litepod", 64), TpuQuota("tpu-v5s-litepod-preemptible", 0))
        self.fail: dict[str, Exception] = {}  # by method

    def account(self) -> str:
        return self._or_fail("account", self.email)

    def missing_permissions(self, permissions: Sequence[str]) -> tuple[str, ...]:
        return self._or_fail("missing_permissions", tuple(each for each in permissions if each in self.missing))

    def missing_bucket_permissions(self, bucket: str, permissions: Sequence[str]) -> tuple[str, ...]:
        return tuple(each for each in permissions if each in self.missing)

    def missing_account_permissions(self, email: str, permissions: Sequence[str]) -> tuple[str, ...]:
        return tuple(each for each in permissions if each in self.missing)

    def disabled_services(self, services: Sequence[str]) -> tuple[str, ...]:
        return self._or_fail("disabled_services", tuple(each for each in services if each in self.disabled))

    def tpu_quotas(self, zone: str) -> tuple[TpuQuota, ...]:
        return self._or_fail("tpu_quotas", self.quotas)

    def _or_fail(self, method: str, answer: T) -> T:
        if method in self.fail:
            raise self.fail[method]
        return answer


class Connector:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def connect(self, target: Target) -> Any:
        self._calls("connect")
        raise ConnectError("no SSH in these tests")


@dataclasses.dataclass
class Fake:
    platform: Platform
    calls: Calls
    store: Store
    nodes: Nodes
    clock: Clock
    project: Project = dataclasses.field(default_factory=Project)

    def job(self, **changes: Any) -> JobRecord:
        record = JobRecord(
            job_id=new_job_id(),
            owner="ada",
            platform="p",
            name="f",
            created=0.0,
            accelerator="v5litepod-1",
            chips=1,
            hosts=1,
            zones=(ZONE,),
            python="3.11",
            **{"runtime_version": "r", **dict.fromkeys(["payload", "agent", "uv", "lock_cpu", "lock_tpu"], NOTHING)},
            **changes,
        )
        self.store.create(JobPaths("ada", record.job_id).job, codec.encode(record))
        self.calls.made.clear()
        return record


def fake(**settings: Any) -> Fake:
    """`settings`: fields of its profile."""
    calls, clock = Calls(), Clock()
    profile = Profile(name="fake", platform="p", project="project", zones=(ZONE,), bucket="b", owner="ada")
    platform = Platform(dataclasses.replace(profile, **{"connect": "external", **settings}), clock)
    store, nodes = Store(calls), Nodes(calls)
    found = Fake(platform, calls, store, nodes, clock)
    vars(platform).update(store=store, nodes=nodes, connector=Connector(calls), project=found.project)
    return found
