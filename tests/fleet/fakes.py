"""A platform in memory: bucket, TPU API and clock, each of which can fail at any call."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from launcher.cloud.seams import Endpoint, GuestAttributes, Node, NodeSpec, ObjectInfo, QueuedResource, Target
from launcher.config import Profile
from launcher.errors import Conflict, ConnectError
from launcher.fleet.platform import Platform
from launcher.records import codec
from launcher.records.jobs import Blob, JobRecord
from launcher.records.paths import JobPaths, new_job_id
from launcher.records.swap import Stored
from tests.records.store import MemoryStore

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
        for name in sorted(self._objects):
            if name.startswith(prefix) and name > start_after:
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
        self.state = "ACTIVE"
        self.node_state = "READY"
        self.creating: Callable[[], None] = lambda: None

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        self.creating()
        self._calls("create")
        if spec.queued_resource in self.specs:
            raise Conflict("it exists")
        self.specs[spec.queued_resource] = spec
        self._calls("created")

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None:
        self._calls("get")
        spec = self.specs.get(queued_resource)
        return None if spec is None else QueuedResource(queued_resource, self.state, nodes=(spec.node,))

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        self._calls("delete")
        self.specs.pop(queued_resource, None)

    def get_node(self, zone: str, node: str) -> Node | None:
        self._calls("get node")
        here = any(spec.node == node for spec in self.specs.values())
        return Node(node, self.node_state, (Endpoint("127.0.0.1", "127.0.0.1"),)) if here else None

    def guest_attributes(self, zone: str, node: str) -> tuple[GuestAttributes, ...]:
        self._calls("guest attributes")
        return (GuestAttributes({"ssh-ed25519": "AAAA"}),)


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


def fake() -> Fake:
    calls, clock = Calls(), Clock()
    profile = Profile(name="fake", platform="p", project="project", zones=(ZONE,), bucket="b", owner="ada")
    platform = Platform(dataclasses.replace(profile, connect="external"), clock)
    store, nodes = Store(calls), Nodes(calls)
    vars(platform).update(store=store, nodes=nodes, connector=Connector(calls))
    return Fake(platform, calls, store, nodes, clock)
