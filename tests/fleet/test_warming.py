"""Nodes that are prepared ahead: WARM until their time is over, or gone."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from launcher.cloud.seams import Node
from launcher.errors import Cancelled, ConfigError, Conflict, FleetFrozen, OutOfCapacity
from launcher.fleet import lease_book
from launcher.fleet.pool import find_warm
from launcher.fleet.request import NodeRequest
from launcher.fleet.warming import WarmUp, requests
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import holder_id
from launcher.settings import resolve
from tests.fleet.fakes import ZONE, Fake, fake

ME = holder_id("ada", "laptop", 1)


class Told:
    def __init__(self) -> None:
        self.phases: list[tuple[str, str]] = []

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append((name, detail))

    def log(self, data: bytes, worker: int = 0) -> None:
        raise AssertionError("there is no job")

    def notice(self, line: str) -> None:
        """Not about a node's state."""


def ask(world: Fake, count: int = 1, for_s: float = 7200.0, **options: Any) -> list[NodeRequest]:
    return requests(world.platform.profile, resolve({"accelerator": "v5litepod-1", **options}), count, for_s)


def warm_up(world: Fake, asked: list[NodeRequest]) -> WarmUp:
    order = WarmUp(world.platform, ME)
    order.start(asked, [Told() for _ in asked])
    order.wait()
    return order


def created_now(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API names a time of creation for every node from here on."""
    made, plain = world.store.now, world.nodes.get_node

    def get_node(zone: str, name: str) -> Node | None:
        node = plain(zone, name)
        return None if node is None else dataclasses.replace(node, create_time=made)

    monkeypatch.setattr(world.nodes, "get_node", get_node)


def lease_of(world: Fake, resource: str) -> Lease:
    found = lease_book.read(world.store, ZONE, resource)
    assert found is not None
    return found[0]


def test_nodes_that_were_prepared_are_warm_for_so_long_and_the_next_call_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = fake(keep_warm_s=900.0)
    created_now(world, monkeypatch)
    asked = ask(world, 3)
    order = warm_up(world, asked)
    assert order.error is None and not order.left
    assert sorted(each.name for each in order.warm) == sorted(world.nodes.specs) and len(order.warm) == 3
    for warmed in order.warm:
        lease = lease_of(world, warmed.name)
        assert (lease.state, lease.holder, lease.keep_warm_s) == (LeaseState.WARM, "", 900.0)
        assert lease.ready and lease.host_keys == ({"ssh-ed25519": "AAAA"},)
        assert lease.warm_until == lease.ready + 7200 == warmed.until
        assert warmed.usd_at_most == pytest.approx(2.4)
    taken = find_warm(world.platform, asked[0], ME)
    assert taken is not None and taken.lease.resource in world.nodes.specs


def test_a_node_stays_warm_no_longer_than_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()
    made = world.store.now
    created_now(world, monkeypatch)
    world.store.now += 600
    (warmed,) = warm_up(world, ask(world, for_s=3600.0, max_lifetime_s=3600.0)).warm
    assert (warmed.now, warmed.until) == (made + 600, made + 3600)


def test_what_would_not_live_so_long_is_refused_before_anything_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"live for 1 h at most \(max_lifetime_s\), 1 h 30 min is longer"):
        ask(fake(max_lifetime_s=3600.0), for_s=5400.0)


def test_nothing_is_warmed_while_the_fleet_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()

    def frozen(platform: object) -> None:
        raise FleetFrozen("the budget is used up")

    monkeypatch.setattr("launcher.fleet.freeze.check", frozen)
    with pytest.raises(FleetFrozen):
        warm_up(world, ask(world))
    assert not world.nodes.specs


@pytest.mark.parametrize("where", ["create_queued_resource", "get_node", "guest_attributes"])
def test_when_one_cannot_be_had_those_that_are_not_warm_are_deleted(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = fake()
    warm = warm_up(world, ask(world)).warm
    plain: Callable[..., Any] = getattr(world.nodes, where)
    calls: list[int] = []

    def third_fails(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Conflict("no") if where != "create_queued_resource" else OutOfCapacity("no more of these")
        return plain(*args)

    monkeypatch.setattr(world.nodes, where, third_fails)
    order = warm_up(world, ask(world, 3))
    assert order.error is not None and not isinstance(order.error, Cancelled)
    kept = {each.name for each in [*warm, *order.warm]}
    assert set(world.nodes.specs) == kept and not order.left and len(order.warm) < 3
    assert all(lease_of(world, name).state is LeaseState.WARM for name in kept)


def test_after_a_cancel_whatever_still_waits_is_deleted_and_what_is_warm_stays() -> None:
    world = fake()
    (ready,) = warm_up(world, ask(world)).warm
    world.nodes.state = "WAITING_FOR_RESOURCES"
    order = WarmUp(world.platform, ME)
    asked = threading.Event()
    world.nodes.creating = asked.set
    order.start(ask(world), [told := Told()])
    assert asked.wait(30)
    order.cancel.set()
    order.wait()
    assert isinstance(order.error, Cancelled) and set(world.nodes.specs) == {ready.name}
    assert [name for name, _ in told.phases][-2:] == ["release", "released"]


def test_a_deletion_that_fails_is_named() -> None:
    world = fake()
    world.nodes.node_state = "STOPPED"

    def refuse(zone: str, name: str) -> None:
        raise Conflict("not now")

    world.nodes.delete_queued_resource = refuse  # type: ignore[method-assign]
    order = warm_up(world, ask(world))
    assert order.left == set(world.nodes.specs) and order.error is not None
    assert lease_of(world, *order.left).state is LeaseState.CONDEMNED
