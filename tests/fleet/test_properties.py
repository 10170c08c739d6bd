"""Leases, policy, reaper and timer under every interleaving that hypothesis can think of.

Clients, workers, two reapers, the nodes' timers, a budget guard and a person act in one world, one call at a time in
any order; between two calls of one any time may pass, an answer may be lost, and whoever asked may die. Whatever
happened: no two run user code on one node, no node is deleted under a live job, and all is gone within its bound.
"""

from __future__ import annotations

import functools
import random
import threading
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from launcher.fleet import lease_book
from launcher.fleet.startup import CHECK_S
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState, reserve
from launcher.records.policy import frozen_verdict
from tests.fleet.actors import (
    POLICY,
    Client,
    SteppedActor,
    Worker,
    Workers,
    one_at_a_time,
    reap,
    run_timer,
    take_down,
)
from tests.fleet.world import PLATFORM, Actor, Order, Resource, World
from tests.records.store import MemoryStore

FUNCTION_BOUND_S = POLICY.idle_s + 10 * 60  # a forgotten node is gone, by the function alone
TIMER_BOUND_S = POLICY.idle_s + 20 * 60  # by its own timer alone
TIMER_PAUSE_S = CHECK_S + 15.0  # the longest between two looks of a timer
EXAMPLES = 2000

ORDERS = st.sampled_from([*[Order.GO] * 12, Order.FAIL, Order.LOSE, Order.REFUSE, Order.CRASH, Order.CRASH_AFTER])
MANY = st.integers(0, 63)  # whom, modulo how many there are
# Whom, how many calls in a row, and what becomes of the last.
STEPS = st.lists(st.tuples(MANY, st.sampled_from([1, 1, 2, 3, 30]), ORDERS), min_size=1, max_size=12)
SKEWS = st.sampled_from([0.0, -600.0, 600.0])


class Fleet(RuleBasedStateMachine):
    @initialize(
        skews=st.lists(SKEWS, min_size=6, max_size=6),
        page_size=st.sampled_from([1, 2, 100]),
        short=st.booleans(),
        story=st.sampled_from(["", "asks", "runs", "is gone, its node warm", "is gone, its node warm", "stays"]),
    )
    def begin(self, skews: list[float], page_size: int, short: bool, story: str) -> None:
        """`story`: what ann has done so far."""
        self.max_lifetime_s = 3600.0 if short else POLICY.max_lifetime_s
        self.world = World(page_size)
        self.patches = one_at_a_time(self.world)
        self.patches.__enter__()
        self.world.on_boot, self.world.on_halt = self._boot, self._halt
        self.world.on_delete, self.world.on_write = self._check_delete, self._check_write
        self.workers = Workers(self.world)
        self.clients = [Client(self.world, name, self.workers, skew_s=skews.pop()) for name in ("ann", "bob")]
        self.reapers = [SteppedActor(self.world, f"reaper {k}", skew_s=skews.pop()) for k in (1, 2)]
        self.guard = SteppedActor(self.world, "guard", skew_s=skews.pop())
        self.person = SteppedActor(self.world, "person", skew_s=skews.pop())
        self.timers: dict[str, SteppedActor] = {}
        self.forced: set[str] = set()  # what the person drained without waiting
        self.may_end_jobs: dict[str, bool] = {}  # whoever condemned it had the right to
        self.function_at = self.world.now + 60.0  # its next pass, while it is on
        if story:
            job_s, stays_s = 1e6 if story == "runs" else 1.0, 1000.0 if story == "stays" else 0.0
            self._call(self.clients[0], job_s, stays_s, 1 if stays_s else 0, 900.0)
            self._live(65.0 if story == "asks" else 225.0)

    # --- what must hold at each moment ----------------------------------------------------------------------

    def _lease(self, resource: str) -> Lease | None:
        for name, (data, _, _) in self.world.objects.items():
            if name.endswith(f"/{resource}.json"):
                return codec.decode(Lease, data)
        return None

    def _check_write(self, name: str, old: bytes | None, new: bytes, actor: Actor) -> None:
        if old is None:
            return
        was, is_ = codec.decode(Lease, old), codec.decode(Lease, new)
        assert was.state is not LeaseState.CONDEMNED, f"{actor.name} revived {name}"
        if is_.state is LeaseState.HELD and is_.holder != was.holder:
            assert was.state is LeaseState.WARM, f"{actor.name} took {name}, which was {was.state} by {was.holder}"
        if is_.state is LeaseState.DRAINING and actor is self.person:
            self.forced.add(was.resource)
        if is_.state is LeaseState.CONDEMNED:
            mine = getattr(actor, "holder", None) == was.holder
            may = mine or actor is self.person or was.resource in self.forced or self._is_capped(was, actor)
            drained = was.state is LeaseState.DRAINING and self.world.now >= was.deadline
            late = self.world.now >= self.world.objects[name][2] + was.ttl_s
            free = was.state is LeaseState.WARM or drained or late
            assert may or free, f"{actor.name} condemned {name}, which was {was.state} by {was.holder} and alive"
            self.may_end_jobs[was.resource] = may

    def _check_delete(self, resource: Resource, actor: Actor) -> None:
        lease = self._lease(resource.name)
        assert lease is not None, f"{actor.name} deletes {resource.name}, which never had a lease"
        capped = self._is_capped(lease, actor)
        assert lease.state is LeaseState.CONDEMNED or capped, f"{actor.name} deletes under {lease.state}"
        if capped or self.may_end_jobs.get(resource.name):
            return
        for runner in resource.runners:
            assert not runner.agent_lives, (
                f"{actor.name} deletes {resource.name} while a job of {runner.holder} runs: {lease.reason}"
            )

    def _is_capped(self, lease: Lease, actor: Actor) -> bool:
        """Whether the node's timer may delete it, whoever holds it."""
        resource = self.world.resources.get((lease.zone, lease.resource))
        if resource is None or actor is not self.timers.get(lease.resource):
            return False
        since = min(resource.booted, lease.created or resource.booted)
        return self.world.now >= since + lease.max_lifetime_s + POLICY.margin_s - 1.0

    # --- who there is ---------------------------------------------------------------------------------------

    def _boot(self, resource: Resource) -> None:
        self.timers[resource.name] = SteppedActor(self.world, f"timer of {resource.name}")
        self.timers[resource.name].down.update(self.timers_down)

    timers_down: frozenset[str] = frozenset()

    def _halt(self, resource: Resource) -> None:
        for worker in self.workers.all:
            if worker.resource is resource:
                worker.halt()
        if resource.name in self.timers:
            self.timers.pop(resource.name).halt()

    def _actors(self) -> list[SteppedActor]:
        return [*self.clients, *self.reapers, self.guard, self.person, *self.workers.all, *self.timers.values()]

    def _runnable(self) -> list[SteppedActor]:
        return [each for each in self._actors() if each.runnable]

    def _nodes(self) -> list[Resource]:
        return [each for each in self.world.resources.values() if each.usable]

    # --- what they do ---------------------------------------------------------------------------------------

    @rule(
        who=MANY,
        job_s=st.sampled_from([1.0, 100.0, 1000.0, 1e6]),
        stays_s=st.sampled_from([0.0, 8.0, 60.0, 1000.0]),
        again=st.integers(0, 2),
        keep_warm_s=st.sampled_from([900.0, 900.0, 0.0]),
    )
    def call(self, who: int, job_s: float, stays_s: float, again: int, keep_warm_s: float) -> None:
        self._call(self.clients[who % 2], job_s, stays_s, again, keep_warm_s)

    def _call(self, client: Client, job_s: float, stays_s: float, again: int, keep_warm_s: float) -> None:
        if not client.ended:
            return
        client.job_s, client.stays_s, client.again, client.keep_warm_s = job_s, stays_s, again, keep_warm_s
        client.max_lifetime_s, client.gives_up = self.max_lifetime_s, False
        client.start(client.use_a_node)

    @rule(before=STEPS, seconds=st.sampled_from([0.0, 61.0, 230.0, 301.0, 901.0, 1501.0, 3601.0]), steps=STEPS)
    def race(self, before: list[tuple[int, int, Order]], seconds: float, steps: list[tuple[int, int, Order]]) -> None:
        """Everybody turns to the same nodes at the same moment, some of them after a long time between two calls."""
        self.freeze(61.0)
        self.interleave(before)
        self.freeze(seconds)
        for k, client in enumerate(self.clients):
            self._call(client, 100.0, 0.0, 0, 900.0)
            self.reap(k)
        for name in list(self.timers):
            self._start_timer(name)
        self.interleave(steps)

    @rule(who=MANY)
    def reap(self, who: int) -> None:
        reaper = self.reapers[who % 2]
        if reaper.ended:
            reaper.start(lambda: reap(reaper))

    @precondition(lambda self: self.timers)
    @rule(which=MANY)
    def look_at_the_lease(self, which: int) -> None:
        names = list(self.timers)
        self._start_timer(names[which % len(names)])

    def _start_timer(self, name: str) -> None:
        timer = self.timers[name]
        resource = next(each for each in self.world.resources.values() if each.name == name)
        if timer.ended:
            timer.start(lambda: run_timer(timer, resource))

    @rule(everything=st.booleans())
    def drain(self, everything: bool) -> None:
        """The budget guard."""
        judge = functools.partial(frozen_verdict, reason="the budget is used up", drain_busy=everything)
        if self.guard.ended:
            self.guard.start(lambda: reap(self.guard, judge=judge, skip_fresh=False))

    @precondition(lambda self: self.world.resources)
    @rule(which=MANY)
    def take_down(self, which: int) -> None:
        names = [each.name for each in self.world.resources.values()]
        if self.person.ended:
            self.person.start(lambda: take_down(self.person, names[which % len(names)]))

    @rule(who=MANY)
    def give_up(self, who: int) -> None:
        """Ctrl-C, or the connection is lost for good: the client cannot know what its worker does."""
        self.clients[who % 2].gives_up = True

    @precondition(lambda self: self.workers.all)
    @rule(which=MANY, order=st.sampled_from([Order.CRASH, Order.CRASH_AFTER]))
    def kill_an_agent(self, which: int, order: Order) -> None:
        living = [each for each in self.workers.all if not each.ended and not each.crashed]
        if living:
            living[which % len(living)].crash(order)

    @rule(who=MANY, order=st.sampled_from([Order.CRASH, Order.CRASH_AFTER]))
    def kill_somebody_else(self, who: int, order: Order) -> None:
        somebody: list[SteppedActor] = [*self.clients, *self.reapers, self.guard, self.person]
        somebody[who % len(somebody)].crash(order)

    @precondition(lambda self: self._nodes())
    @rule(which=MANY, what=st.sampled_from(["reboot", "reboot", "preempt"]))
    def happen(self, which: int, what: str) -> None:
        nodes = self._nodes()
        getattr(self.world, what)(nodes[which % len(nodes)])

    @rule(who=MANY, what=st.sampled_from(["bucket", "api"]), down=st.booleans())
    def cut_off(self, who: int, what: str, down: bool) -> None:
        """An outage, for everybody or one of them."""
        actors: list[World | Actor] = [self.world, *self._actors()]
        where = actors[who % len(actors)].down
        (where.add if down else where.discard)(what)

    @rule(steps=STEPS)
    def interleave(self, steps: list[tuple[int, int, Order]]) -> None:
        for who, count, order in steps:
            runnable = self._runnable()
            if not runnable:
                return
            actor = runnable[who % len(runnable)]
            for _ in range(count - 1):
                actor.step()
                if not actor.runnable:
                    break
            else:
                actor.step(order)

    @rule(seconds=st.sampled_from([1.0, 61.0, 230.0, 241.0, 301.0, 901.0, 1501.0]))
    def freeze(self, seconds: float) -> None:
        """Time passes and nobody gets to run, but for the watch in an agent."""
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from([10.0, 120.0, 400.0, 1000.0]))
    def live(self, seconds: float) -> None:
        self._live(seconds)

    def _live(self, seconds: float, *, function: bool = False, timers: bool = False) -> None:
        """Everybody runs as it should; with one of the lines of defence, until nothing is left for it."""
        until = self.world.now + seconds
        timer_at: dict[str, float] = {}
        while True:
            runnable = self._runnable()
            if runnable:
                for each in runnable:
                    if each.runnable:
                        each.step()
                continue
            if function and self.function_at <= self.world.now:
                self.function_at = self.world.now + POLICY.interval_s
                self.reap(0)
                continue
            due = [name for name in self.timers if timer_at.setdefault(name, self.world.now) <= self.world.now]
            if timers and due:
                for name in due:
                    timer_at[name] = self.world.now + TIMER_PAUSE_S
                    self._start_timer(name)
                continue
            if self.world.now >= until or ((function or timers) and self._rests(leases=function and timers)):
                return
            wake = [each.wakes_at for each in self._actors() if not each.ended]
            wake += [self.function_at] if function else []
            wake += [timer_at[name] for name in self.timers] if timers else []
            self.world.pass_until(min([until, self.world.next_event(), *wake]))

    def _rests(self, *, leases: bool) -> bool:
        """Nothing exists and nobody acts. `leases`: and every lease says so."""
        if self.world.resources or not all(each.ended for each in self._actors()):
            return False
        records = (codec.decode(Lease, data) for data, _, _ in self.world.objects.values() if leases)
        return all(each.state is LeaseState.CONDEMNED for each in records)

    # --- what must hold in the end --------------------------------------------------------------------------

    @initialize(seed=st.integers(0, 2**16), alone=st.sampled_from(["function", "timers"]), busy=st.booleans())
    def decide_the_end(self, seed: int, alone: str, busy: bool) -> None:
        self.seed, self.alone, self.busy = seed, alone, busy

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if hasattr(self, "alone"):
                self._end()
        finally:
            for each in self._actors():
                each.halt()
                while not each.ended:
                    each.step(Order.CRASH)
            self.patches.__exit__(None, None, None)

    def _end(self) -> None:
        """Everybody is forgotten by everybody, and one line of defence is left."""
        chance = random.Random(self.seed)
        for each in self._actors():
            each.down.clear()
            stays = isinstance(each, Worker) and self.busy and self.max_lifetime_s < 10000
            if not stays and not each.crashed:
                each.crash(chance.choice([Order.CRASH, Order.CRASH_AFTER]))
        self.world.down.clear()
        function = self.alone == "function"
        bound_s = FUNCTION_BOUND_S if function else TIMER_BOUND_S
        self.function_at = self.world.now + chance.uniform(0, POLICY.interval_s)
        if any(not each.ended for each in self.workers.all):  # they may be busy for ever: max_lifetime is their bound
            extra_s = POLICY.drain_s if function else POLICY.margin_s
            bound_s = max(bound_s, self.max_lifetime_s + extra_s + 2 * POLICY.interval_s)
        self._live(bound_s, function=function, timers=not function)
        left = [each.name for each in self.world.resources.values() if each.node_state not in ("", "PREEMPTED")]
        assert not left, f"{left} outlived the bound of {bound_s / 60:g} min by the {self.alone} alone"
        self._live(TIMER_BOUND_S, function=True, timers=True)
        assert not self.world.resources, f"{list(self.world.resources)} left behind"
        assert self._rests(leases=True), "a lease is left behind that does not say that its node is gone"


class TestFleet(Fleet.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=EXAMPLES, stateful_step_count=10, suppress_health_check=list(HealthCheck))


def test_client_and_reaper_race_for_one_node_a_thousand_times() -> None:
    """Threads of the real thing, on a store that only knows generations: never do both win, never does neither."""
    store = MemoryStore()
    won: list[str] = []
    rounds = 1000
    ready = threading.Barrier(2)

    def play(who: str, step: Any) -> None:
        for number in range(rounds):
            ready.wait()
            try:
                lease_book.change(store, "z", f"p-{number}", step)
            except LeaseRefused:
                continue
            won.append(f"{who} {number}")

    for number in range(rounds):
        store.create(paths.lease("z", f"p-{number}"), codec.encode(_warm(f"p-{number}")))
    steps = {
        "client": lambda lease, stored: lease.hold("bob@laptop:1-00000000", "client"),
        "reaper": lambda lease, stored: lease.condemn("unused", by="", updated=stored.updated, now=stored.now),
    }
    threads = [threading.Thread(target=play, args=pair) for pair in steps.items()]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(int(each.split()[1]) for each in won) == list(range(rounds))


def _warm(resource: str) -> Lease:
    holder = "ann@laptop:1-00000000"
    lease = reserve(
        resource=resource,
        zone="z",
        platform=PLATFORM,
        owner="ada",
        holder=holder,
        accelerator="v5litepod-1",
        spot=False,
    )
    return lease.hold(holder, "worker").release(holder)
