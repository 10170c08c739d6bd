"""A fleet in memory of any size, whose lists come in pages that are counted, and of which any part can fail."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from launcher.cloud.seams import Node, ObjectInfo, QueuedResource
from launcher.config import Profile
from launcher.errors import CloudError
from launcher.fleet.platform import Platform
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseState
from launcher.records.swap import Stored
from tests.fleet.fakes import Clock
from tests.records.store import MemoryStore

T = TypeVar("T")

ZONE = "us-central1-a"
OTHER_ZONE = "us-east5-a"
OURS = {"launcher-platform": "p", "launcher-owner": "ada"}


class Store(MemoryStore):
    """`fails`: by the beginning of a name, what reading or writing such an object raises; "" is also the listing."""

    bucket = "b"
    page_size = 1000

    def __init__(self, calls: Counter[str]) -> None:
        super().__init__()
        self.calls = calls
        self.fails: dict[str, CloudError] = {}
        self.before_write: Callable[[str], None] = lambda name: None
        self.on_call: Callable[[], None] = lambda: None
        self._counting = threading.Lock()

    def count(self, what: str) -> None:
        self.on_call()
        with self._counting:
            self.calls[what] += 1

    def _check(self, name: str) -> None:
        for prefix, error in self.fails.items():
            if name.startswith(prefix):
                raise error

    def read(self, name: str) -> Stored | None:
        self.count("read")
        self._check(name)
        return super().read(name)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        self.count("write")
        self._check(name)
        self.before_write(name)
        return super().replace(name, data, generation)

    def stat(self, name: str) -> ObjectInfo | None:
        found = super().read(name)
        return None if found is None else ObjectInfo(name, len(found.data), "", found.generation, found.updated)

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "") -> Iterator[ObjectInfo]:
        self._check("")
        names = [name for name in sorted(self._objects) if name.startswith(prefix)]
        for name in pages(names, self.page_size, lambda: self.count("page of leases")):
            data, generation, updated = self._objects[name]
            yield ObjectInfo(name, len(data), "", generation, updated)

    def download(self, name: str, target: object, start: int = 0) -> int | None:
        raise NotImplementedError

    upload = download


class Nodes:
    """`fails`: by zone or by name, what listing or deleting there raises. Nothing goes away by a deletion alone."""

    page_size = 100

    def __init__(self, store: Store) -> None:
        self.queued: dict[tuple[str, str], QueuedResource] = {}
        self.nodes: dict[tuple[str, str], Node] = {}
        self.deleted: list[str] = []
        self.fails: dict[str, CloudError] = {}
        self._store = store

    def list_queued_resources(self, zone: str) -> Iterator[QueuedResource]:
        return self._list("queued resources", zone, self.queued)

    def list_nodes(self, zone: str) -> Iterator[Node]:
        return self._list("nodes", zone, self.nodes)

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        self._delete(zone, queued_resource)

    def delete_node(self, zone: str, node: str) -> None:
        self._delete(zone, node)

    def gone(self, zone: str, name: str) -> None:
        """The deletion that was asked for is done."""
        queued = self.queued.pop((zone, name), None)
        for node in queued.nodes if queued else (name,):
            self.nodes.pop((zone, node), None)

    def _delete(self, zone: str, name: str) -> None:
        if error := self.fails.get(name):
            raise error
        self.deleted.append(name)

    def _list(self, what: str, zone: str, of: dict[tuple[str, str], T]) -> Iterator[T]:
        if error := self.fails.get(f"{what} in {zone}"):
            raise error
        found = [each for (place, _), each in list(of.items()) if place == zone]
        return pages(found, self.page_size, lambda: self._store.count(f"page of {what}"))


def pages(items: Iterable[T], size: int, turn: Callable[[], None]) -> Iterator[T]:
    turn()
    for number, item in enumerate(items):
        if number and number % size == 0:
            turn()
        yield item


class Fleet:
    def __init__(self, zones: tuple[str, ...] = (ZONE, OTHER_ZONE)) -> None:
        self.calls: Counter[str] = Counter()
        self.store = Store(self.calls)
        self.nodes = Nodes(self.store)
        profile = Profile("fake", "p", "project", zones, "b", owner="ada")
        self.platform = Platform(profile, Clock())
        vars(self.platform).update(store=self.store, nodes=self.nodes)

    def add(
        self,
        name: str,
        state: str = "ACTIVE",
        node_state: str = "READY",
        *,
        zone: str = ZONE,
        age_s: float = 1000.0,
        labels: dict[str, str] | None = None,
    ) -> None:
        """A queued resource and its node. Empty states: without it."""
        created, labels = self.store.now - age_s, OURS if labels is None else labels
        node = f"{name}-0"
        if state:
            self.nodes.queued[zone, name] = QueuedResource(
                name, state, nodes=(node,), labels=labels, create_time=created
            )
        if node_state:
            self.nodes.nodes[zone, node] = Node(
                node, node_state, labels=labels, create_time=created, queued_resource=name if state else ""
            )

    def lease(self, name: str, state: LeaseState, age_s: float = 0.0, *, zone: str = ZONE, **changes: Any) -> Lease:
        """A lease that was written age_s ago."""
        holder = "" if state in (LeaseState.WARM, LeaseState.CONDEMNED) else "ada@laptop:1-f"
        made = Lease(name, zone, "p", "ada", state, holder, "client")
        made = dataclasses.replace(made, **changes)
        self.store.now -= age_s
        stored = self.store.read(paths.lease(zone, name))
        assert self.store.replace(paths.lease(zone, name), codec.encode(made), stored.generation if stored else 0)
        self.store.now += age_s
        return made

    def read(self, name: str, zone: str = ZONE) -> Lease | None:
        stored = self.store.read(paths.lease(zone, name))
        return None if stored is None else codec.decode(Lease, stored.data)
