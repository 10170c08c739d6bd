"""A pool never has more nodes than it may, whoever asks at the same time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from launcher.errors import ConfigError, QuotaExceeded
from launcher.fleet import lease_book, room
from launcher.fleet.acquire import Granted, acquire
from launcher.fleet.request import NodeRequest
from launcher.fleet.room import PoolFull
from launcher.records.leases import TTL_S, LeaseState, reserve
from launcher.records.policy import POOL_LABEL
from tests.fleet.fakes import ZONE, Fake, fake
from tests.fleet.platforms import give_file, pool
from tests.fleet.test_acquire import REQUEST


class Quiet:
    def phase(self, name: str, detail: str = "") -> None: ...

    def log(self, data: bytes, worker: int = 0) -> None: ...

    def notice(self, line: str) -> None: ...


@pytest.fixture
def world() -> Fake:
    world = fake(control_bucket="c")
    give_file(world, pools={"a": pool(max_nodes=2), "b": pool(spot=True)})
    return world


def request(name: str = "p-job", **changes: Any) -> NodeRequest:
    ids = functools.partial("{}-{}".format, name)
    return dataclasses.replace(REQUEST, **{"resource_id": ids, "pools": ("a",), **changes})


def get(world: Fake, name: str = "p-job", **changes: Any) -> Granted:
    granted = acquire(
        world.platform, request(name, **changes), name, Quiet(), threading.Event(), lambda one: None, lambda: None
    )
    granted.close()
    return granted


def test_a_node_carries_its_pool_and_the_next_ones_are_counted_by_it(world: Fake) -> None:
    one, _ = get(world, "p-one"), get(world, "p-two")
    assert one.lease.labels[POOL_LABEL] == world.nodes.specs["p-one-1"].labels[POOL_LABEL] == "a"
    with pytest.raises(PoolFull) as caught:
        get(world, "p-three")
    assert str(caught.value).startswith(
        f"pool 'a' of platform p has 2 of 2 nodes: p-one-1 in {ZONE} (waited for by p-one), p-two-1 in {ZONE}"
    )
    assert 'tpu_pools["a"].max_nodes' in str(caught.value) and not caught.value.leaving
    assert isinstance(caught.value, QuotaExceeded)
    assert "p-three-1" not in world.nodes.specs and lease_book.read(world.store, ZONE, "p-three-1") is None
    get(world, "p-spot", spot=True, pools=("b",))


def test_a_node_that_is_being_deleted_counts_and_is_worth_waiting_for(world: Fake) -> None:
    one, _ = get(world, "p-one"), get(world, "p-two")
    lease_book.condemn(world.store, ZONE, one.lease.resource, "over", by="p-one")
    with pytest.raises(PoolFull, match=r"p-one-1 in us-central1-a \(being deleted\)") as caught:
        get(world, "p-three")
    assert caught.value.leaving
    world.nodes.delete_queued_resource(ZONE, "p-one-1")
    get(world, "p-three")


def test_what_waits_for_hardware_counts_while_its_client_lives(world: Fake) -> None:
    give_file(world, pools={"a": pool(max_nodes=1)})
    platform = world.platform
    rules = room.pool_of(platform, request(), False)
    assert rules is not None
    one = get(world, "p-one").lease
    world.nodes.specs.clear()  # not asked for yet
    with pytest.raises(PoolFull):
        room.check_room(platform, rules)
    room.check_room(platform, rules, one)
    world.store.now += TTL_S
    room.check_room(platform, rules)


def test_of_those_that_reserve_at_once_the_later_ones_give_way(world: Fake) -> None:
    """Whatever the order in which they look, and whatever their ids."""
    platform = world.platform
    rules = room.pool_of(platform, request(), False)
    leases = []
    for name in ("p-z", "p-m", "p-a", "p-b"):  # created in this order
        lease = reserve(
            resource=name,
            zone=ZONE,
            platform="p",
            owner="ada",
            holder=name,
            accelerator="v5litepod-1",
            spot=False,
            labels={POOL_LABEL: "a"},
        )
        lease_book.create(world.store, lease)
        world.store.now += 1
        leases.append(lease)
    # The first one's is renewed late: what counts is when it was created.
    leases[0] = lease_book.change(world.store, ZONE, "p-z", lambda it, _: it.renew("p-z"))
    refused = []
    for lease in reversed(leases):
        try:
            room.admit(platform, rules, lease)
        except PoolFull:
            refused.append(lease.resource)
    assert refused == ["p-b", "p-a"]
    states = {name: lease_book.read(world.store, ZONE, name) for name in ("p-z", "p-m", "p-a", "p-b")}
    assert [found[0].state for found in states.values() if found] == [
        *[LeaseState.RESERVED] * 2,
        *[LeaseState.CONDEMNED] * 2,
    ]


def test_of_two_that_reserve_in_the_same_millisecond_one_gives_way_and_other_pools_do_not_count(world: Fake) -> None:
    give_file(world, pools={"a": pool(max_nodes=1), "b": pool(spot=True)})
    rules = room.pool_of(world.platform, request(), False)
    leases = [
        reserve(
            resource=name,
            zone=ZONE,
            platform="p",
            owner="ada",
            holder=name,
            accelerator="v5litepod-1",
            spot=False,
            labels={POOL_LABEL: label},
        )
        for name, label in (("p-0", "b"), ("p-1", "a"), ("p-2", "a"))
    ]
    for lease in leases:
        lease_book.create(world.store, lease)
    with pytest.raises(PoolFull):
        room.admit(world.platform, rules, leases[2])
    room.admit(world.platform, rules, leases[1])


@pytest.mark.parametrize("state, room_for", [("DELETING", 0), ("SUSPENDING", 0), ("SUSPENDED", 1), ("FAILED", 1)])
def test_what_still_has_hardware_counts(world: Fake, state: str, room_for: int) -> None:
    give_file(world, pools={"a": pool(max_nodes=1)})
    get(world, "p-one")
    listed = world.nodes.list_queued_resources
    vars(world.nodes)["list_queued_resources"] = lambda zone: (
        dataclasses.replace(each, state=state) for each in listed(zone)
    )
    rules = room.pool_of(world.platform, request(), False)
    with contextlib.nullcontext() if room_for else pytest.raises(PoolFull):
        room.check_room(world.platform, rules)


@pytest.mark.parametrize("limit", [1, 3])
def test_many_at_once_never_exceed_the_limit_and_the_pool_gets_full(limit: int) -> None:
    world = fake(control_bucket="c")
    give_file(world, pools={"a": pool(max_nodes=limit)})
    write, lock = world.store.replace, threading.Lock()

    def later(name: str, data: bytes, generation: int) -> int | None:
        with lock:  # no two writes at the same time, as in GCS
            world.store.now += 0.001
            return write(name, data, generation)

    world.store.replace = later  # type: ignore[method-assign]
    world.nodes._in = lambda zone: list(world.nodes.specs.values())  # type: ignore[method-assign]
    start = threading.Barrier(8)
    most = []
    world.nodes.creating = lambda: most.append(len(world.nodes.specs) + 1)

    def ask(number: int) -> bool:
        start.wait()
        try:
            get(world, f"p-{number}")
        except PoolFull:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        granted = sum(threads.map(ask, range(8)))
    assert 1 <= granted <= limit and len(world.nodes.specs) == granted
    assert max(most) <= limit
    for number in range(8, 8 + limit - granted):
        get(world, f"p-{number}")
    with pytest.raises(PoolFull):
        get(world, "p-last")


def test_where_the_platform_has_pools_nothing_is_made_outside_them(world: Fake) -> None:
    with pytest.raises(ConfigError, match="no pool allows such a node, and none that stands is free"):
        get(world, pools=())
    with pytest.raises(ConfigError, match=r"pool 'gone' is no longer there\. Its pools: a, b"):
        get(world, pools=("gone",))
    assert world.nodes.specs == {}


def test_the_fallback_counts_in_its_own_pool(world: Fake) -> None:
    asked = request(spot=True, spot_fallback=True, pools=("b", "a"))
    names = {spot: room.pool_of(world.platform, asked, spot) for spot in (True, False)}
    assert {spot: found.name for spot, found in names.items() if found} == {True: "b", False: "a"}


def test_warm_nodes_are_everybodys_where_every_pool_says_so(world: Fake) -> None:
    give_file(world, pools={"a": pool(shared=True), "b": pool()})
    shared = {names: room.share(world.platform, request(pools=names)).shared for names in (("a",), ("a", "b"), ())}
    assert shared == {("a",): True, ("a", "b"): False, (): False}
