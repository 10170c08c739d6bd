"""The year itself: a team's calls and everything that goes wrong, on the launcher's own pool, leases, policy, reaper.

Only what is not ours is simulated: people, Google's hardware, the worker's agent as far as the lease sees it, and the
node's timer, whose rule is repeated here (tests/fleet/test_startup.py runs the real one).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from launcher.accelerators import hourly_usd, parse
from launcher.cloud.seams import NodeSpec
from launcher.errors import CloudError
from launcher.fleet import lease_book, pool
from launcher.fleet.reaper import reap
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState, reserve
from launcher.records.policy import PLATFORM_LABEL, PolicySettings
from tests.fleet.world import PLATFORM, START, Actor, Resource, World
from tests.simulation.workload import Call, Sitting

ZONE = "us-central1-a"
POLICY = PolicySettings()
_TIMER_S = 240.0  # the real one looks each minute or so
_TOMBSTONE_S = 2 * 3600.0  # the bucket's lifecycle keeps them for 30 days, which only makes the lists longer
_PREEMPTED_EACH_S = 40 * 3600.0  # mean life of a spot node
_LEAK_AFTER_S = POLICY.margin_s + 10 * 60.0  # beyond the idle timeout: what the timer alone holds


@dataclasses.dataclass
class Life:
    """One node, from READY until it is deleted. Seconds of the world's clock."""

    owner: str
    accelerator: str
    spot: bool
    usd_per_hour: float
    ready: float
    last_use: float = 0.0  # when somebody last had a right to it
    busy_s: float = 0.0
    helpless_s: float = 0.0  # of its idle time: Google's API was down, so nobody could delete it
    gone: float = 0.0
    by: str = ""
    busy_spans: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    @property
    def lived_s(self) -> float:
        return self.gone - self.ready

    @property
    def leaked_s(self) -> float:
        """How long it was there after the latest moment at which a line of defence had to have taken it."""
        return max(0.0, self.gone - max(self.last_use, self.ready) - POLICY.idle_s - _LEAK_AFTER_S - self.helpless_s)


class Year:
    """Plays the sittings. Everything happens in the one thread of the world's events."""

    def __init__(
        self,
        sittings: list[Sitting],
        *,
        function_down: list[tuple[float, float]],
        api_down: list[tuple[float, float]],
        preempt: Callable[[], float],
    ) -> None:
        self.world = World()
        self.world.on_delete = self._deleted
        self.world.on_halt = self._halted
        self.lives: list[Life] = []
        self._preempt = preempt
        self._client = Actor(self.world, "client", zones=(ZONE,))
        self._worker = Actor(self.world, "worker", zones=(ZONE,))
        self._reaper = Actor(self.world, "function", zones=(ZONE,))
        self._timer = Actor(self.world, "timer", zones=(ZONE,))
        self._alive: dict[str, Life] = {}  # by queued resource
        self._renewed: set[str] = set()  # leases whose holder is alive
        self._running: dict[str, tuple[Call, Callable[[], None]]] = {}  # and how its sitting goes on
        self._function_down = function_down
        self._api_down = api_down
        self._passing = False
        self.world.on_boot = self._booted
        self.calls = [call for sitting in sittings for call in sitting.calls]
        for sitting in sittings:
            self._at(START + sitting.start, lambda sitting=sitting: self._sit(sitting, 0))

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        self.world.at(moment, event)

    def run(self) -> None:
        """To the end, and on until nothing is left."""
        logging.disable(logging.CRITICAL)
        try:
            while (moment := self.world.next_event()) != float("inf"):
                self.world.pass_until(moment)
        finally:
            logging.disable(logging.NOTSET)

    # --- people -------------------------------------------------------------------------------------------------

    def _sit(self, sitting: Sitting, index: int) -> None:
        """The next call of a sitting; whoever's process died calls again later."""
        if index < len(sitting.calls):
            call = sitting.calls[index]
            self._at(self.world.now + call.after_s, lambda: self._ask(call, lambda: self._sit(sitting, index + 1)))

    def _ask(self, call: Call, then: Callable[[], None]) -> None:
        call.asked = call.asked or self.world.now
        self._watch()
        try:
            self._place(call, then)
        except CloudError:  # an outage: the client waits
            self._at(self.world.now + 120.0, lambda: self._ask(call, then))

    def _place(self, call: Call, then: Callable[[], None]) -> None:
        holder = f"{call.owner}@laptop:{call.number}"
        request = NodeRequest(
            platform=PLATFORM,
            owner=call.owner,
            accelerator=call.accelerator,
            hosts=1,
            runtime_version="r",
            zones=(ZONE,),
            resource_id=lambda number: f"{PLATFORM}-{call.number:06d}-a{number}",
            spot=call.spot,
            keep_warm_s=POLICY.idle_s,
            need_s=call.run_s,
        )
        taken = pool.find_warm(self._client.platform, request, holder)
        if taken is not None:
            call.warm = True
            self._run(call, taken.lease.resource, holder, then)
            return
        resource = request.resource_id(1)
        spec = NodeSpec(
            resource, paths.node_id(resource), call.accelerator, "r", {PLATFORM_LABEL: PLATFORM}, {}, spot=call.spot
        )
        lease = reserve(
            resource=resource,
            zone=ZONE,
            platform=PLATFORM,
            owner=call.owner,
            holder=holder,
            accelerator=call.accelerator,
            spot=call.spot,
            runtime_version="r",
        )
        if lease_book.read(self._client.platform.store, ZONE, resource) is None:
            lease_book.create(self._client.platform.store, lease)
        self._client.platform.nodes.create_queued_resource(ZONE, spec)
        self._renewed.add(resource)
        if call.client_dies and call.moment < 0.3:  # while it waits
            self._at(self.world.now + 100 * call.moment, lambda: self._die(call, resource, then))
        self._await(call, resource, holder, then)

    def _await(self, call: Call, resource: str, holder: str, then: Callable[[], None]) -> None:
        if call.fate == "its client died":
            return
        found = self.world.resources.get((ZONE, resource))
        if found is None or not found.usable:
            if found is None or found.state in ("SUSPENDED", "FAILED", "DELETING"):
                self._lost(call, resource, then)
                return
            self._at(self.world.now + 10.0, lambda: self._await(call, resource, holder, then))
            return
        self._run(call, resource, holder, then)

    def _die(self, call: Call, resource: str, then: Callable[[], None]) -> None:
        call.fate, call.ended = "its client died", self.world.now
        self._renewed.discard(resource)
        if resource in self._alive:
            self._alive[resource].last_use = self.world.now
        self._at(self.world.now + 600.0, then)

    def _run(self, call: Call, resource: str, holder: str, then: Callable[[], None]) -> None:
        """The job runs on the node, renewed by its worker, whatever becomes of its client."""
        life = self._alive[resource]

        def step(lease: Lease, _: object) -> Lease:
            held = lease.hold(holder, "worker")
            return dataclasses.replace(held, created=lease.created or life.ready)

        try:
            lease_book.change(self._client.platform.store, ZONE, resource, step)
        except (LeaseRefused, CloudError):
            self._lost(call, resource, then)
            return
        self._renewed.add(resource)
        self._running[resource] = call, then
        call.started, call.fate = self.world.now, "running"
        if call.agent_dies:
            self._at(self.world.now + call.run_s * call.moment, lambda: self._agent_dies(call, resource))
        else:
            self._at(self.world.now + call.run_s, lambda: self._finish(call, resource, holder))

    def _runs(self, call: Call, resource: str) -> bool:
        return resource in self._running and self._running[resource][0] is call

    def _finish(self, call: Call, resource: str, holder: str) -> None:
        """The worker releases the lease, after an outage later."""
        if not self._runs(call, resource):
            return
        try:
            lease_book.change(self._worker.platform.store, ZONE, resource, lambda it, _: it.release(holder))
        except CloudError:
            self._at(self.world.now + 30.0, lambda: self._finish(call, resource, holder))
            return
        except LeaseRefused:  # it was drained: the worker gives the node up
            release(self._worker.platform, ZONE, resource, by=holder, reason="drained", timeout_s=0.0)
        self._stop(resource, "succeeded")

    def _agent_dies(self, call: Call, resource: str) -> None:
        if self._runs(call, resource):
            self._stop(resource, "its worker died")

    def _stop(self, resource: str, fate: str) -> None:
        """The job on the node is over; its caller goes on."""
        call, then = self._running.pop(resource)
        call.fate, call.ended = fate, self.world.now
        self._renewed.discard(resource)
        self._at(self.world.now, then)
        life = self._alive[resource]
        life.last_use = self.world.now
        life.busy_s += self.world.now - call.started
        life.busy_spans.append((call.started, self.world.now))

    def _lost(self, call: Call, resource: str, then: Callable[[], None]) -> None:
        """The node went away before the job ran: the client gives it up and asks again."""
        self._renewed.discard(resource)
        call.fate = "lost before it ran"
        call.ended = self.world.now
        self._at(self.world.now, then)

    # --- the fleet's defences -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The function looks for as long as anything is there."""
        if not self._passing:
            self._passing = True
            self._at(self.world.now + POLICY.interval_s, self._pass)

    def _pass(self) -> None:
        now = self.world.now
        self.world.down = {"api", "bucket"} if self._api_is_down() else set()
        self._renew()
        if not _within(self._function_down, now):
            reap(self._reaper.platform, POLICY, log=lambda entry: None)
        for name in [name for name, (_, _, written) in self.world.objects.items() if now > written + _TOMBSTONE_S]:
            del self.world.objects[name]
        self._passing = bool(self.world.resources or self._running)
        if self._passing:
            self._at(now + POLICY.interval_s, self._pass)

    def _api_is_down(self) -> bool:
        return _within(self._api_down, self.world.now)

    def _renew(self) -> None:
        """What holders write each minute; only a pass looks at it."""
        for resource in self._renewed:
            name = paths.lease(ZONE, resource)
            found = self.world.objects.get(name)
            if found is not None:
                self.world.objects[name] = (found[0], found[1], self.world.now)

    def _tick(self, resource: Resource) -> None:
        """The node's own timer, for as long as the node is there."""
        if resource.name not in self._alive:
            return
        self._renew()
        try:
            if self._timer_wants_it_gone(resource):
                lease_book.condemn(self._timer.platform.store, ZONE, resource.name, "the node's timer", by="")
                self._timer.platform.nodes.delete_queued_resource(ZONE, resource.name)
        except (CloudError, LeaseRefused):
            pass  # it looks again
        self._at(self.world.now + _TIMER_S, lambda: self._tick(resource))

    def _timer_wants_it_gone(self, resource: Resource) -> bool:
        stored = self._timer.platform.store.read(paths.lease(ZONE, resource.name))
        if stored is None:
            return self.world.now > resource.booted + POLICY.grace_s + POLICY.margin_s
        lease = codec.decode(Lease, stored.data)
        if lease.state is LeaseState.CONDEMNED:
            return True
        end = stored.updated + lease.ttl_s + POLICY.idle_s
        if lease.state is LeaseState.WARM:
            end = lease.idle_at(stored.updated)
        return stored.now >= end + POLICY.margin_s

    # --- what Google does ---------------------------------------------------------------------------------------

    def _booted(self, resource: Resource) -> None:
        spec = resource.spec
        usd = hourly_usd(parse(spec.accelerator), ZONE, spec.spot) or 0.0
        life = Life("", spec.accelerator, spec.spot, usd, self.world.now, self.world.now)
        self.lives.append(life)
        self._alive[resource.name] = life
        self._at(self.world.now + _TIMER_S, lambda: self._tick(resource))
        if spec.spot:
            self._at(self.world.now + self._preempt() * _PREEMPTED_EACH_S, lambda: self._preempted(resource))

    def _preempted(self, resource: Resource) -> None:
        if resource.usable:
            self.world.preempt(resource)

    def _halted(self, resource: Resource) -> None:
        """Its machines stop: nothing is paid from here."""
        if resource.name in self._running:
            self._stop(resource.name, "preempted" if resource.node_state == "PREEMPTED" else "its node was deleted")
        life = self._alive.pop(resource.name, None)
        if life is not None:
            span = max(life.last_use, life.ready), self.world.now
            life.helpless_s = sum(_overlap(span, (START + a, START + b)) for a, b in self._api_down)
            life.gone, life.by = self.world.now, life.by or resource.node_state.lower()

    def _deleted(self, resource: Resource, actor: Actor) -> None:
        if resource.name in self._alive:
            self._alive[resource.name].by = actor.name


def _within(spans: list[tuple[float, float]], now: float) -> bool:
    return any(start <= now - START < end for start, end in spans)


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
