"""Nodes that exist already: which are taken, by whom, and that never two take the same."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest

from launcher import keys
from launcher.cloud.seams import NodeSpec, QueuedResource
from launcher.errors import ConfigError, Conflict, PermissionDenied, Unavailable, WorkerLost
from launcher.fleet import lease_book, pool
from launcher.fleet.pool import Taken
from launcher.fleet.request import NodeRequest
from launcher.records.leases import TTL_S, Lease, LeaseState, reserve
from launcher.terminal import Console
from tests.fleet.fakes import ZONE, Fake, fake

REQUEST = NodeRequest(
    platform="p",
    owner="ada",
    accelerator="v5litepod-1",
    hosts=1,
    runtime_version="r",
    zones=(ZONE,),
    resource_id=lambda number: f"p-new-{number}",
    job="ada/job/1",
    keep_warm_s=900.0,
)
LABELS = {"launcher-platform": "p", "launcher-owner": "ada"}


def node(world: Fake, name: str = "p-one", *, zone: str = ZONE, labels: dict[str, str] | None = None) -> None:
    """A READY node without a lease."""
    spec = NodeSpec(name, f"{name}-0", "v5litepod-1", "r", LABELS if labels is None else labels, {})
    world.nodes.create_queued_resource(zone, spec)


def warm(world: Fake, name: str = "p-one", **facts: Any) -> Lease:
    """A READY node whose lease is WARM."""
    zone = facts.pop("zone", ZONE)
    node(world, name, zone=zone)
    given = {"owner": "ada", "accelerator": "v5litepod-1", "spot": False, "runtime_version": "r", **facts}
    lease = reserve(resource=name, zone=zone, platform="p", holder="x", **{"created": world.store.now, **given})
    lease_book.create(world.store, lease)
    return lease_book.change(world.store, zone, name, lambda it, _: it.hold("x", "client").release("x"))


def state(world: Fake, name: str = "p-one") -> LeaseState:
    found = lease_book.read(world.store, ZONE, name)
    assert found is not None
    return found[0].state


def find(world: Fake, holder: str = "me", **changes: Any) -> Taken | None:
    return pool.find_warm(world.platform, dataclasses.replace(REQUEST, **changes), holder)


def named(world: Fake, name: str, holder: str = "me", **changes: Any) -> Taken:
    request = dataclasses.replace(REQUEST, **changes)
    console = Console(err=io.StringIO())
    return pool.find_named(world.platform, name, request, holder, console, threading.Event())


def test_a_warm_node_that_fits_is_taken_and_held_for_the_job() -> None:
    world = fake()
    warm(world)
    taken = find(world)
    assert taken is not None and taken.node.name == "p-one-0"
    assert (taken.lease.state, taken.lease.holder, taken.lease.job) == (LeaseState.HELD, "me", "ada/job/1")
    assert find(world, "other") is None


@pytest.mark.parametrize(
    "facts, asked",
    [
        ({"accelerator": "v5litepod-8"}, {}),
        ({"spot": True}, {}),
        ({}, {"spot": True}),
        ({"runtime_version": "older"}, {}),
        ({"labels": {"team": "x"}}, {"labels": {"team": "y"}}),
        ({"owner": "bob"}, {}),
        ({}, {"zones": ("us-east5-a",)}),
        ({}, {"need_s": 24 * 3600.0}),
        ({"created": 1_000_000.0 - 13 * 3600}, {}),
    ],
)
def test_a_node_that_does_not_fit_is_left_alone(facts: dict[str, Any], asked: dict[str, Any]) -> None:
    world = fake()
    warm(world, **facts)
    assert find(world, **asked) is None
    assert state(world) is LeaseState.WARM


@pytest.mark.parametrize(
    "facts, asked",
    [
        ({"labels": {"team": "x", "more": "y"}}, {"labels": {"team": "x"}}),
        ({}, {"spot": True, "spot_fallback": True}),
        ({"owner": "bob"}, {"shared": True}),
        ({"created": 1_000_000.0 - 13 * 3600}, {"need_s": 3600.0}),
    ],
)
def test_a_node_that_does_more_than_was_asked_for_fits(facts: dict[str, Any], asked: dict[str, Any]) -> None:
    world = fake()
    warm(world, **facts)
    assert find(world, **asked) is not None


def test_zones_count_in_their_order_and_then_the_node_that_was_used_last() -> None:
    world = fake()
    warm(world, "p-east", zone="us-east5-a")
    warm(world, "p-older")
    world.store.now += 10
    warm(world, "p-newer")
    zones = ("us-east5-a", ZONE)
    taken = [find(world, zones=zones) for _ in range(4)]
    assert [each.lease.resource if each else None for each in taken] == ["p-east", "p-newer", "p-older", None]


def test_a_node_that_is_not_ready_is_given_up_and_the_next_one_taken() -> None:
    world = fake()
    warm(world, "p-good")
    world.store.now += 10
    warm(world, "p-gone")
    resource = world.nodes.specs["p-gone"]
    world.nodes.specs["p-gone"] = dataclasses.replace(resource, node="another")
    taken = find(world)
    assert taken is not None and taken.lease.resource == "p-good"
    assert state(world, "p-gone") is LeaseState.CONDEMNED and "p-gone" not in world.nodes.specs


@pytest.mark.parametrize("real", ["PREEMPTED", "STOPPED", "REPAIRING", "CREATING"])
def test_the_real_state_of_a_warm_node_counts(real: str) -> None:
    world = fake()
    warm(world)
    world.nodes.node_state = real
    assert find(world) is None
    assert state(world) is LeaseState.CONDEMNED and not world.nodes.specs


@pytest.mark.parametrize("error", [PermissionDenied("403"), Unavailable("503")], ids=["refused", "down"])
def test_a_zone_that_cannot_be_listed_keeps_no_other_from_being_used(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = fake()
    warm(world, "p-here", zone="us-east5-a")
    listing = world.nodes.list_queued_resources

    def listed(zone: str) -> Iterator[QueuedResource]:
        if zone == ZONE:
            raise error
        return listing(zone)

    monkeypatch.setattr(world.nodes, "list_queued_resources", listed)
    taken = find(world, zones=(ZONE, "us-east5-a"))
    assert taken is not None and taken.lease.resource == "p-here"


def test_what_is_not_the_platforms_own_is_never_taken() -> None:
    world = fake()
    warm(world)
    world.nodes.specs["p-one"] = dataclasses.replace(world.nodes.specs["p-one"], labels={})
    assert find(world) is None


def test_of_many_that_want_one_node_exactly_one_gets_it() -> None:
    world = fake()
    warm(world)
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda k: find(world, f"holder-{k}"), range(64)))
    assert len([each for each in taken if each is not None]) == 1


# --- node="name" ---------------------------------------------------------------------------------------------


def foreign(world: Fake) -> None:
    node(world, "theirs", labels={})


def test_a_node_of_others_gets_a_lease_and_is_free_again_afterwards() -> None:
    world = fake()
    foreign(world)
    taken = named(world, "theirs-0")
    assert taken.lease.external and taken.lease.state is LeaseState.HELD
    pool.give_back(world.platform, taken.lease, "me")
    assert state(world, "theirs") is LeaseState.WARM
    assert named(world, "theirs", "other").lease.holder == "other"


def test_a_lease_that_calls_another_owners_node_mine_is_not_believed() -> None:
    world = fake()
    warm(world)
    spec = world.nodes.specs["p-one"]
    world.nodes.specs["p-one"] = dataclasses.replace(spec, labels={**LABELS, "launcher-owner": "eve"})
    assert find(world) is None
    assert find(world, shared=True) is not None


def test_a_node_of_ours_that_lost_its_lease_is_still_the_launchers_to_delete() -> None:
    world = fake()
    node(world)
    assert not named(world, "p-one-0").lease.external


def test_a_node_in_use_is_refused_naming_the_holder_or_waited_for() -> None:
    world = fake()
    foreign(world)
    taken = named(world, "theirs-0")
    with pytest.raises(Conflict, match=r"by me.*wait_timeout_s.*launcher nodes down theirs"):
        named(world, "theirs-0", "other")
    with pytest.raises(Conflict, match="by me"):
        named(world, "theirs-0", "other", wait_timeout_s=60.0)
    assert 60 <= world.clock.now < 120
    waits = []

    def free_it(seconds: float, event: threading.Event | None = None) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            pool.give_back(world.platform, taken.lease, "me")
        return False

    world.clock.wait = free_it  # type: ignore[method-assign]
    assert named(world, "theirs-0", "other", wait_timeout_s=600.0).lease.holder == "other"


def test_an_expired_lease_of_a_foreign_node_is_taken_over_but_never_one_of_the_fleet() -> None:
    world = fake()
    foreign(world)
    named(world, "theirs-0")
    warm(world)
    assert find(world, "dead") is not None
    world.store.now += TTL_S
    assert named(world, "theirs-0", "other").lease.holder == "other"
    with pytest.raises(Conflict, match="by dead"):
        named(world, "p-one-0", "other")


def test_nobody_condemns_a_foreign_node() -> None:
    world = fake()
    foreign(world)
    named(world, "theirs-0")
    world.store.now += 10 * TTL_S
    with pytest.raises(lease_book.LeaseRefused, match="not made by the launcher"):
        lease_book.condemn(world.store, ZONE, "theirs", "reaper", by="")


@pytest.mark.parametrize(
    "name, changes, error, said",
    [
        ("nothing", {}, ConfigError, "no node nothing in us-central1-a.*launcher nodes"),
        ("theirs-0", {"accelerator": "v5litepod-8"}, ConfigError, "is a v5litepod-1.*accelerator='v5litepod-1'"),
    ],
)
def test_a_wrong_name_or_accelerator_is_named(
    name: str, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    world = fake()
    foreign(world)
    with pytest.raises(error, match=said):
        named(world, name, **changes)


@pytest.mark.parametrize("name", ["p-on", "p-one-", "p-one-0-1", "one-0", "P-ONE"])
def test_a_node_is_named_by_its_exact_name(name: str) -> None:
    world = fake()
    warm(world)
    with pytest.raises(ConfigError, match=f"no node {name} in"):
        named(world, name)
    assert state(world) is LeaseState.WARM


def test_a_list_that_fails_is_an_error_and_no_lack_of_warm_nodes() -> None:
    world = fake()
    warm(world)

    def fail(zone: str) -> Any:
        raise Unavailable("503")

    world.nodes.list_queued_resources = fail  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        find(world)


def test_a_named_node_that_is_not_ready_or_condemned_is_refused() -> None:
    world = fake()
    warm(world)
    lease_book.condemn(world.store, ZONE, "p-one", "idle", by="")
    with pytest.raises(WorkerLost, match="being deleted: idle"):
        named(world, "p-one-0")
    world.nodes.node_state = "REPAIRING"
    with pytest.raises(WorkerLost, match="REPAIRING"):
        named(world, "p-one-0")


def test_this_machines_key_is_added_once_beside_the_others() -> None:
    world = fake()
    warm(world)
    world.nodes.metadata["p-one-0"] = {"ssh-keys": "l-bob:ssh-ed25519 BBBB", "startup-script": "s"}
    taken = find(world)
    assert taken is not None
    assert pool.let_in(world.platform, taken, "ada")
    present = world.platform.nodes.get_node(ZONE, "p-one-0")
    assert present is not None
    mine = keys.ssh_keys_metadata("ada", keys.key_pair("fake"))["ssh-keys"]
    assert present.metadata == {
        "enable-guest-attributes": "TRUE",
        "ssh-keys": f"l-bob:ssh-ed25519 BBBB\n{mine}",
        "startup-script": "s",
    }
    assert not pool.let_in(world.platform, dataclasses.replace(taken, node=present), "ada")


def test_a_node_whose_state_cannot_be_read_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()
    warm(world)
    monkeypatch.setattr(world.nodes, "get_node", Mock(side_effect=Unavailable("503")))
    with pytest.raises(Unavailable):
        find(world)
    assert state(world) is LeaseState.WARM


def test_what_the_worker_has_taken_over_is_not_given_back() -> None:
    world = fake()
    warm(world)
    taken = find(world)
    assert taken is not None
    lease_book.change(world.store, ZONE, "p-one", lambda it, _: it.hold("me", "worker"))
    pool.give_back(world.platform, taken.lease, "me")
    assert state(world) is LeaseState.HELD
