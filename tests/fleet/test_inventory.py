"""What `launcher nodes` knows of each node: who uses it, since when it is idle, and when it will go."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from launcher.cloud.seams import Node, NodeSpec
from launcher.errors import PermissionDenied
from launcher.fleet import lease_book
from launcher.fleet.costs import clock_words
from launcher.fleet.inventory import NodeInfo, list_nodes
from launcher.records.leases import LeaseState, reserve
from launcher.records.paths import holder_id
from tests.fleet.fakes import ZONE, Fake, fake

ADA = holder_id("ada", "laptop", 4711)


def make(world: Fake, name: str = "p-1", *, labels: dict[str, str] | None = None) -> None:
    labels = {"launcher-platform": "p", "launcher-owner": "ada"} if labels is None else labels
    world.nodes.create_queued_resource(ZONE, NodeSpec(name, f"{name}-0", "v5litepod-4", "r", labels, {}))


def lease(world: Fake, resource: str = "p-1", *, holder: str = ADA, owner: str = "ada", **changes: Any) -> None:
    """A HELD lease, or what `changes` make of it."""
    first = reserve(
        resource=resource,
        zone=ZONE,
        platform="p",
        owner=owner,
        holder=holder,
        accelerator="v5litepod-4",
        spot=False,
        created=world.store.now,
        ready=world.store.now,
    )
    held = dataclasses.replace(first.hold(holder, "worker", job="ada/20260131-093015123-abc234/1"), **changes)
    lease_book.create(world.store, held)


def release(world: Fake, resource: str = "p-1") -> None:
    lease_book.change(world.store, ZONE, resource, lambda it, _: it.release(it.holder))


def one(world: Fake) -> NodeInfo:
    (found,) = list_nodes(world.platform)
    return found


def test_a_node_in_use_names_its_holder_and_the_job() -> None:
    world = fake()
    make(world)
    lease(world)
    found = one(world)
    assert (found.user, found.holder, found.job) == ("ada@laptop", ADA, "ada/20260131-093015123-abc234/1")
    assert (found.idle_since, found.goes, found.usd_per_hour, found.now) == (None, "in use", 4.8, world.store.now)


def test_a_warm_node_is_idle_since_its_release_and_goes_when_its_time_is_up() -> None:
    world = fake()
    make(world)
    lease(world, keep_warm_s=900.0)
    world.store.now += 3600
    release(world)
    released = world.store.now
    world.store.now += 180
    found = one(world)
    assert (found.user, found.idle_since, found.goes_at) == ("", released, released + 900)
    assert found.goes == f"{clock_words(released + 900, world.store.now)} (in 12 min)"
    world.store.now += 721
    found = one(world)
    assert found.goes_why == "at the next pass of the idle shutdown: unused for 15 min"
    assert found.goes_at == world.store.now


def test_a_node_that_was_prepared_ahead_goes_no_sooner_than_it_was_asked_for() -> None:
    world = fake()
    make(world)
    lease(world, keep_warm_s=900.0, warm_until=world.store.now + 7200)
    release(world)
    assert one(world).goes_at == world.store.now + 7200


def test_the_end_of_its_lifetime_counts_where_it_is_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()
    make(world)
    created = world.store.now
    node = Node("p-1-0", "READY", accelerator="v5litepod-4", create_time=created, queued_resource="p-1")
    monkeypatch.setattr(world.nodes, "list_nodes", lambda zone: iter([node]))
    lease(world, max_lifetime_s=4000.0, ttl_s=1e9)
    assert one(world).goes == "in use"
    world.store.now += 1000
    assert one(world).goes == f"in use, until {clock_words(created + 4000, world.store.now)} at most"
    world.store.now += 2800
    release(world)
    assert one(world).goes_at == created + 4000


@pytest.mark.parametrize(
    "changes, goes, reason",
    [
        ({"state": LeaseState.CONDEMNED, "reason": "deleted by ada"}, "being deleted", "deleted by ada"),
        ({"ttl_s": 0.0}, "at the next pass of the idle shutdown", "has not renewed its lease"),
        ({"state": LeaseState.RESERVED}, "waited for", "RESERVED"),
    ],
    ids=["condemned", "expired", "reserved"],
)
def test_when_it_goes_is_told_for_every_state_of_its_lease(changes: dict[str, Any], goes: str, reason: str) -> None:
    world = fake()
    make(world)
    lease(world, **changes)
    found = one(world)
    assert found.goes == goes and reason in found.reason


def test_a_node_that_is_drained_goes_at_its_deadline() -> None:
    world = fake()
    make(world)
    lease(world, state=LeaseState.DRAINING, deadline=world.store.now + 300, reason="the budget is used up")
    found = one(world)
    deadline = clock_words(world.store.now + 300, world.store.now)
    assert found.goes_at == world.store.now + 300
    assert found.goes_why == f"{deadline}: draining, its holder has 5 min left: the budget is used up"


def test_a_node_without_a_lease_has_no_holder_and_says_so() -> None:
    world = fake()
    make(world)
    found = one(world)
    assert (found.lease_state, found.user, found.idle_since) == (None, "", None)
    assert found.usd_per_hour == 4.8


def test_somebody_elses_node_is_listed_only_when_it_has_an_external_lease() -> None:
    world = fake()
    make(world, "theirs", labels={})
    make(world, "p-others", labels={"launcher-platform": "q"})
    assert list_nodes(world.platform) == ()
    lease(world, "theirs", external=True)
    found = one(world)
    assert (found.name, found.nodes, found.external, found.goes) == (
        "theirs-0",
        ("theirs-0",),
        True,
        "never (not ours)",
    )
    assert found.user == "ada@laptop"


def test_a_zone_that_there_is_not_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()
    make(world)
    misspelled = reserve(
        resource="p-2", zone="us-central1-z", platform="p", owner="ada", holder=ADA, accelerator="v6e-8", spot=False
    )
    lease_book.create(world.store, misspelled)
    listing = world.nodes.list_queued_resources

    def refused_in(zone: str) -> None:
        def listed(asked: str) -> Any:
            if asked == zone:
                raise PermissionDenied("Permission denied on 'locations/…' (or it may not exist)")
            return listing(asked)

        monkeypatch.setattr(world.nodes, "list_queued_resources", listed)

    refused_in("us-central1-z")
    assert one(world).name == "p-1"
    refused_in(ZONE)
    with pytest.raises(PermissionDenied):
        list_nodes(world.platform)


def test_two_sessions_show_their_own_nodes() -> None:
    world = fake()
    for name in ("p-1", "p-2"):
        make(world, name)
    lease(world, "p-1")
    lease(world, "p-2", holder=holder_id("grace", "desk.example", 1), owner="grace")
    assert {each.name: each.user for each in list_nodes(world.platform)} == {
        "p-1": "ada@laptop",
        "p-2": "grace@desk.example",
    }
