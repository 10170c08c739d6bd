"""A world in memory with simulated time: one bucket and the Cloud TPU API, for many actors at once.

Every call of an actor passes its gate, which can hold it back, fail it, lose its answer or end the actor: so that any
interleaving of the launcher's own code can be played. Nothing here decides anything: the code under test does.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from launcher.cloud.seams import Endpoint, GuestAttributes, Node, NodeSpec, ObjectInfo, QueuedResource
from launcher.config import Profile
from launcher.errors import Conflict, NotFound, Unavailable
from launcher.fleet.platform import Platform
from launcher.records.swap import Stored

T = TypeVar("T")

PLATFORM = "p"
START = 1_900_000_000.0
WRITES = ("write", "create", "delete")


class Order(enum.Enum):
    """What becomes of one call."""

    GO = "it takes effect and is answered"
    FAIL = "it does not arrive"
    LOSE = "it takes effect, its answer is lost"
    REFUSE = "it takes effect, its answer is lost, and a retry inside the client is refused: a write is told 412"
    CRASH = "the caller dies before it"
    CRASH_AFTER = "the caller dies when it is sent"


class Crashed(BaseException):
    """The process that makes the call is gone: nothing of it runs any more, no `finally` either."""


@dataclasses.dataclass
class Resource:
    """One queued resource and its node. node_state "" while there is no node."""

    zone: str
    spec: NodeSpec
    created: float
    state: str = "ACCEPTED"
    node_state: str = ""
    node_created: float = 0.0
    booted: float = 0.0
    runners: list[Any] = dataclasses.field(default_factory=list)  # who runs user code there now

    @property
    def name(self) -> str:
        return self.spec.queued_resource

    @property
    def usable(self) -> bool:
        return self.state == "ACTIVE" and self.node_state == "READY"


@dataclasses.dataclass
class Delays:
    """Seconds that Google takes."""

    accepting: float = 5.0
    waiting: float = 20.0
    provisioning: float = 120.0
    suspending: float = 30.0
    restarting: float = 60.0
    deleting: float = 120.0


class World:
    """Bucket, API and time. What happens by itself happens in `pass_time`."""

    def __init__(self, page_size: int = 1000) -> None:
        self.now = START
        self.delays = Delays()
        self.page_size = page_size
        self.stocked_out = False
        self.down: set[str] = set()  # "bucket", "api", or the name of a zone
        self.objects: dict[str, tuple[bytes, int, float]] = {}
        self.resources: dict[tuple[str, str], Resource] = {}
        self.on_boot: Callable[[Resource], None] = lambda resource: None
        self.on_halt: Callable[[Resource], None] = lambda resource: None  # its machines stop, whatever ran there
        self.on_delete: Callable[[Resource, Actor], None] = lambda resource, actor: None
        self.on_write: Callable[[str, bytes | None, bytes, Actor], None] = lambda name, old, new, actor: None
        self._generation = itertools.count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), event))

    def next_event(self) -> float:
        return self._events[0][0] if self._events else float("inf")

    def pass_time(self, seconds: float) -> None:
        self.pass_until(self.now + seconds)

    def pass_until(self, moment: float) -> None:
        while self._events and self._events[0][0] <= moment:
            at, _, event = heapq.heappop(self._events)
            self.now = max(self.now, at)
            event()
        self.now = max(self.now, moment)

    # --- the Cloud TPU API's own doing ----------------------------------------------------------------------

    def add(self, zone: str, spec: NodeSpec) -> Resource:
        resource = self.resources[zone, spec.queued_resource] = Resource(zone, spec, self.now)
        self._later(resource, self.delays.accepting, "ACCEPTED", lambda: self._queue(resource))
        if spec.valid_for_s is not None:
            self._later(resource, spec.valid_for_s, "WAITING_FOR_RESOURCES", lambda: self._set(resource, "FAILED"))
        return resource

    def _later(self, resource: Resource, seconds: float, state: str, event: Callable[[], None]) -> None:
        """Unless it is in another state by then."""
        self.at(self.now + seconds, lambda: event() if resource.state == state else None)

    def _set(self, resource: Resource, state: str) -> None:
        resource.state = state

    def _queue(self, resource: Resource) -> None:
        self._set(resource, "WAITING_FOR_RESOURCES")
        self._later(resource, self.delays.waiting, resource.state, lambda: self._find_hardware(resource))

    def _find_hardware(self, resource: Resource) -> None:
        if self.stocked_out:
            self._later(resource, 60.0, resource.state, lambda: self._find_hardware(resource))
            return
        self._set(resource, "PROVISIONING")
        resource.node_state, resource.node_created = "CREATING", self.now
        self._later(resource, self.delays.provisioning, "PROVISIONING", lambda: self._activate(resource))

    def _activate(self, resource: Resource) -> None:
        self._set(resource, "ACTIVE")
        self._boot(resource)

    def _boot(self, resource: Resource) -> None:
        resource.node_state, resource.booted = "READY", self.now
        self.on_boot(resource)

    def _halt(self, resource: Resource, node_state: str) -> None:
        resource.node_state = node_state
        self.on_halt(resource)
        resource.runners.clear()

    def reboot(self, resource: Resource) -> None:
        """The workers start anew."""
        self._halt(resource, "RESTARTING")

        def back() -> None:
            if resource.node_state == "RESTARTING":
                self._boot(resource)

        self.at(self.now + self.delays.restarting, back)

    def preempt(self, resource: Resource) -> None:
        self._halt(resource, "PREEMPTED")
        self._set(resource, "SUSPENDING")
        self._later(resource, self.delays.suspending, "SUSPENDING", lambda: self._set(resource, "SUSPENDED"))

    def delete(self, resource: Resource, actor: Actor) -> None:
        if resource.state == "DELETING":
            return
        self.on_delete(resource, actor)
        self._set(resource, "DELETING")
        if resource.node_state:
            self._halt(resource, "DELETING")
        self.at(self.now + self.delays.deleting, lambda: self._forget(resource))

    def _forget(self, resource: Resource) -> None:
        del self.resources[resource.zone, resource.name]

    # --- the bucket's ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Before anybody looks at the bucket: what would have been written meanwhile."""

    def write(self, name: str, data: bytes, generation: int, actor: Actor) -> int | None:
        self.settle()
        found = self.objects.get(name)
        if (found[1] if found else 0) != generation:
            return None
        self.on_write(name, found[0] if found else None, data, actor)
        new = next(self._generation)
        self.objects[name] = (data, new, self.now)
        return new


class Actor:
    """A process that uses the bucket and the API. Its calls go through at once unless their service is down."""

    def __init__(self, world: World, name: str, *, zones: tuple[str, ...], skew_s: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.skew_s = skew_s  # how wrong its time of day is
        self.down: set[str] = set()  # as World.down, for this actor alone
        profile = Profile(PLATFORM, PLATFORM, "project", zones, "bucket", owner="ada", connect="external")
        self.platform = Platform(profile, ActorClock(self))
        vars(self.platform).update(store=ActorStore(self), nodes=ActorNodes(self))

    def gate(self, kind: str, where: str) -> Order:
        """`kind`: read, list, write, create or delete; `where`: "bucket" or a zone."""
        unreachable = {where} if where == "bucket" else {where, "api"}
        return Order.FAIL if unreachable & (self.world.down | self.down) else Order.GO

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"{self.name} sleeps, and has no thread of its own")

    def call(self, kind: str, where: str, effect: Callable[[], T]) -> T:
        order = self.gate(kind, where)
        if order is Order.FAIL:
            raise Unavailable(f"503: {kind} in {where}")
        if order is Order.CRASH:
            raise Crashed
        answer = effect()
        if order is Order.CRASH_AFTER:
            raise Crashed
        if order is Order.LOSE or (order is Order.REFUSE and kind != "write"):
            raise Unavailable(f"no answer: {kind} in {where}")
        return None if order is Order.REFUSE else answer  # type: ignore[return-value]


class ActorClock:
    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def monotonic(self) -> float:
        return self._actor.world.now - START

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        self._actor.sleep(seconds)
        return event is not None and event.is_set()


class ActorStore:
    """The bucket as one actor reaches it: an ObjectStore."""

    bucket = "bucket"

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._world = actor.world

    def time(self) -> float:
        return self._actor.call("read", "bucket", lambda: self._world.now)

    def read(self, name: str) -> Stored | None:
        def look() -> Stored | None:
            self._world.settle()
            found = self._world.objects.get(name)
            return None if found is None else Stored(*found, self._world.now)

        return self._actor.call("read", "bucket", look)

    def create(self, name: str, data: bytes) -> int | None:
        return self.replace(name, data, 0)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        return self._actor.call("write", "bucket", lambda: self._world.write(name, data, generation, self._actor))

    def stat(self, name: str) -> ObjectInfo | None:
        stored = self.read(name)
        return None if stored is None else ObjectInfo(name, len(stored.data), "", stored.generation, stored.updated)

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "") -> Iterator[ObjectInfo]:
        after = start_after
        while page := self._actor.call("list", "bucket", functools.partial(self._page, prefix, after, delimiter)):
            yield from page
            if len(page) < self._world.page_size:
                return
            after = page[-1].name + ("\U0010ffff" if page[-1].generation == 0 else "")

    def _page(self, prefix: str, start_after: str, delimiter: str) -> list[ObjectInfo]:
        self._world.settle()
        found: dict[str, ObjectInfo] = {}
        for name in sorted(self._world.objects):
            if not name.startswith(prefix) or name <= start_after:
                continue
            cut = name.find(delimiter, len(prefix)) + 1 if delimiter else 0
            data, generation, updated = self._world.objects[name]
            info = (
                ObjectInfo(name[:cut], 0, "", 0, 0.0) if cut else ObjectInfo(name, len(data), "", generation, updated)
            )
            found.setdefault(info.name, info)
            if len(found) == self._world.page_size:
                break
        return list(found.values())

    def download(self, name: str, target: BinaryIO, start: int = 0) -> int | None:
        stored = self.read(name)
        return None if stored is None else target.write(stored.data[start:])

    def upload(self, name: str, source: BinaryIO, size: int, crc32c: str) -> bool:
        return self.create(name, source.read()) is not None


class ActorNodes:
    """The Cloud TPU API as one actor reaches it: a NodeService."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._world = actor.world

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        def create() -> None:
            if (zone, spec.queued_resource) in self._world.resources:
                raise Conflict("it exists")
            self._world.add(zone, spec)

        self._actor.call("create", zone, create)

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None:
        return self._actor.call(
            "read", zone, lambda: self._resource(self._world.resources.get((zone, queued_resource)))
        )

    def list_queued_resources(self, zone: str) -> Iterator[QueuedResource]:
        for found in self._pages(zone, lambda each: True):
            resource = self._resource(found)
            assert resource is not None
            yield resource

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        def delete() -> None:
            found = self._world.resources.get((zone, queued_resource))
            if found is not None:
                self._world.delete(found, self._actor)

        self._actor.call("delete", zone, delete)

    def delete_node(self, zone: str, node: str) -> None:
        raise AssertionError(f"{node} stands alone nowhere")

    def get_node(self, zone: str, node: str) -> Node | None:
        def look() -> Node | None:
            all_ = self._world.resources.values()
            found = [each for each in all_ if (each.zone, each.spec.node) == (zone, node) and each.node_state]
            return self._node(found[0]) if found else None

        return self._actor.call("read", zone, look)

    def list_nodes(self, zone: str) -> Iterator[Node]:
        yield from map(self._node, self._pages(zone, lambda each: each.node_state != ""))

    def set_metadata(self, zone: str, node: str, metadata: dict[str, str]) -> None:
        raise NotFound(f"no node {node} takes metadata here")

    def guest_attributes(self, zone: str, node: str) -> tuple[GuestAttributes, ...]:
        return self._actor.call("read", zone, lambda: (GuestAttributes({"ssh-ed25519": "AAAA"}, node),))

    def _pages(self, zone: str, wanted: Callable[[Resource], bool]) -> Iterator[Resource]:
        """Each page as things stand when it is asked for."""
        after = ""

        def page() -> list[Resource]:
            found = [each for each in self._world.resources.values() if each.zone == zone and wanted(each)]
            found = [dataclasses.replace(each) for each in found if each.name > after]
            return sorted(found, key=lambda each: each.name)[: self._world.page_size]

        while found := self._actor.call("list", zone, page):
            yield from found
            if len(found) < self._world.page_size:
                return
            after = found[-1].name

    @staticmethod
    def _resource(found: Resource | None) -> QueuedResource | None:
        if found is None:
            return None
        spec = found.spec
        return QueuedResource(
            found.name, found.state, nodes=(spec.node,), labels=spec.labels, create_time=found.created, spot=spec.spot
        )

    @staticmethod
    def _node(found: Resource) -> Node:
        spec = found.spec
        return Node(
            spec.node,
            found.node_state,
            (Endpoint("10.0.0.1"),),
            accelerator=spec.accelerator,
            labels=spec.labels,
            create_time=found.node_created,
            runtime_version=spec.runtime_version,
            queued_resource=found.name,
            spot=spec.spot,
        )
