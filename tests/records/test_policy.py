"""The whole table: every state of a node and of a queued resource, under every lease that can be there."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from google.cloud import tpu_v2

from launcher.records.leases import Lease, LeaseState
from launcher.records.policy import (
    Keep,
    NodeFacts,
    PolicySettings,
    QueuedFacts,
    Reap,
    frozen_verdict,
    is_ours,
    verdict,
)

NOW = 1_900_000_000.0
SETTINGS = PolicySettings()
HOUR = 3600.0
QUEUED = sorted(state.name for state in tpu_v2.QueuedResourceState.State)
NODES = sorted(state.name for state in tpu_v2.Node.State)
DEAD = {"STOPPED", "PREEMPTED", "TERMINATED", "HIDDEN"}
# Every pair that there can be: a queued resource without its node, with it, and a node that stands alone.
PAIRS = [*itertools.product(QUEUED, [None, *NODES]), *((None, state) for state in NODES)]
Leased = tuple[Lease, float]


def lease(state: LeaseState, age_s: float = 30.0, **changes: object) -> Leased:
    """A lease that was written age_s ago."""
    holder = "" if state in (LeaseState.WARM, LeaseState.CONDEMNED) else "ada@laptop:1-f"
    made = Lease("p-1", "z", "p", "ada", state, holder, "client", keep_warm_s=900.0)
    return dataclasses.replace(made, **changes), NOW - age_s  # type: ignore[arg-type]


LIVE = {
    "reserved": lease(LeaseState.RESERVED, 299),
    "held": lease(LeaseState.HELD, 299),
    "draining": lease(LeaseState.DRAINING, 299, deadline=NOW + 1),
}
LATE = {
    "reserved": lease(LeaseState.RESERVED, 300),
    "held": lease(LeaseState.HELD, 300),
    "draining": lease(LeaseState.DRAINING, 300, deadline=NOW + 1000),
}


def judge(
    queued: str | None,
    node: str | None,
    leased: Leased | None = None,
    *,
    age_s: float = HOUR,
    node_age_s: float | None = None,
    settings: PolicySettings = SETTINGS,
) -> Keep | Reap:
    node_created = 0.0 if age_s == float("inf") else NOW - (age_s if node_age_s is None else node_age_s)
    queued_created = 0.0 if age_s == float("inf") else NOW - age_s
    return verdict(
        None if node is None else NodeFacts("p-1-0", node, node_created),
        leased,
        None if queued is None else QueuedFacts("p-1", queued, queued_created),
        NOW,
        settings,
    )


def waits(queued: str | None) -> bool:
    return queued in ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES")


def dead(queued: str | None, node: str | None) -> bool:
    return queued in ("FAILED", "SUSPENDED") or (queued in ("ACTIVE", None) and node in DEAD)


def going(queued: str | None, node: str | None) -> bool:
    return queued == "DELETING" or (queued in ("ACTIVE", None) and node == "DELETING")


@pytest.mark.parametrize("which", LIVE)
def test_what_somebody_holds_is_kept_in_every_state(which: str) -> None:
    assert [pair for pair in PAIRS if not isinstance(judge(*pair, LIVE[which]), Keep)] == []


@pytest.mark.parametrize("which", LATE)
def test_what_nobody_renewed_goes_in_every_state(which: str) -> None:
    for pair in PAIRS:
        assert judge(*pair, LATE[which]) == Reap("ada@laptop:1-f has not renewed its lease for 5 min"), pair


def test_what_is_condemned_is_deleted_again_in_every_state() -> None:
    condemned = lease(LeaseState.CONDEMNED, 0, reason="why")
    assert {judge(*pair, condemned) for pair in PAIRS} == {Reap("condemned: why")}


def test_what_was_drained_goes_at_its_deadline_in_every_state() -> None:
    drained = lease(LeaseState.DRAINING, deadline=NOW, reason="too old")
    assert {judge(*pair, drained) for pair in PAIRS} == {Reap("drained: too old")}


def test_a_warm_node_goes_when_it_is_idle_and_before_only_where_it_cannot_be_used() -> None:
    for pair in PAIRS:
        assert judge(*pair, lease(LeaseState.WARM, 900)) == Reap("unused for 15 min") or dead(*pair) or going(*pair)
        assert isinstance(judge(*pair, lease(LeaseState.WARM, 899)), Reap) == (dead(*pair) or going(*pair)), pair


def test_a_node_that_was_prepared_ahead_is_not_idle_before_its_end_time() -> None:
    ahead = lease(LeaseState.WARM, 5000, warm_until=NOW + 1)
    assert isinstance(judge("ACTIVE", "READY", ahead), Keep)
    assert isinstance(judge("ACTIVE", "READY", lease(LeaseState.WARM, 5000, warm_until=NOW)), Reap)


def test_without_a_lease_only_the_useless_and_the_forgotten_go() -> None:
    for queued, node in PAIRS:
        forgotten = waits(queued) or (queued in ("ACTIVE", None) and node in ("READY", None))
        for age_s in (599.0, 600.0):
            expected = dead(queued, node) or (forgotten and age_s == 600.0)
            assert isinstance(judge(queued, node, age_s=age_s), Reap) == expected, (queued, node, age_s)


def test_the_grace_counts_from_the_node_not_from_the_time_in_the_queue() -> None:
    assert isinstance(judge("ACTIVE", "READY", age_s=20 * HOUR, node_age_s=599.0), Keep)
    assert isinstance(judge("ACTIVE", "READY", age_s=20 * HOUR, node_age_s=600.0), Reap)


@pytest.mark.parametrize("leased", [None, LATE["held"], lease(LeaseState.WARM, 1)], ids=["none", "late", "warm"])
def test_max_lifetime_takes_what_nobody_uses_in_every_state_but_a_waiting_one(leased: Leased | None) -> None:
    for queued, node in PAIRS:
        decided = judge(queued, node, leased, age_s=24 * HOUR)
        if not (waits(queued) and node is None):
            assert decided == Reap("older than its max_lifetime of 24.0 h"), (queued, node)


@pytest.mark.parametrize("which", ["reserved", "held"])
def test_max_lifetime_drains_what_is_in_use(which: str) -> None:
    for queued, node in PAIRS:
        if waits(queued) and node is None:  # nothing runs yet: its own validity ends it
            assert isinstance(judge(queued, node, LIVE[which], age_s=24 * HOUR), Keep)
        else:
            assert judge(queued, node, LIVE[which], age_s=24 * HOUR - 1) != judge(
                queued, node, LIVE[which], age_s=24 * HOUR
            )
            assert judge(queued, node, LIVE[which], age_s=24 * HOUR) == Reap(
                "older than its max_lifetime of 24.0 h", drain=True
            )


def test_a_deadline_past_max_lifetime_moves_closer_but_once() -> None:
    far = lease(LeaseState.DRAINING, deadline=NOW + SETTINGS.drain_s + 1)
    assert judge("ACTIVE", "READY", far, age_s=24 * HOUR) == Reap("older than its max_lifetime of 24.0 h", drain=True)
    near = lease(LeaseState.DRAINING, deadline=NOW + SETTINGS.drain_s)
    assert isinstance(judge("ACTIVE", "READY", near, age_s=24 * HOUR), Keep)


def test_max_lifetime_is_the_lease_s_own_and_the_platform_s_where_there_is_none() -> None:
    short = lease(LeaseState.HELD, max_lifetime_s=HOUR)
    assert judge("ACTIVE", "READY", short) == Reap("older than its max_lifetime of 60 min", drain=True)
    settings = dataclasses.replace(SETTINGS, max_lifetime_s=HOUR)
    assert isinstance(judge("ACTIVE", "READY", LIVE["held"], settings=settings), Keep)
    assert isinstance(judge("PROVISIONING", None, settings=settings), Reap)


def test_max_lifetime_counts_from_the_node_not_from_the_time_in_the_queue() -> None:
    assert isinstance(judge("ACTIVE", "READY", LIVE["held"], age_s=30 * HOUR, node_age_s=HOUR), Keep)


@pytest.mark.parametrize("queued, node", [("ACTIVE", "MELTING"), ("MELTING", "READY"), ("MELTING", None)])
def test_an_unknown_state_is_kept_until_max_lifetime(queued: str, node: str | None) -> None:
    assert isinstance(judge(queued, node, age_s=24 * HOUR - 1), Keep)
    assert isinstance(judge(queued, node, age_s=24 * HOUR), Reap)


def test_a_time_that_the_api_does_not_tell_is_no_age() -> None:
    for pair in PAIRS:
        assert isinstance(judge(*pair, age_s=float("inf")), Reap) == dead(*pair), pair


def test_an_external_node_is_kept_whatever_there_is() -> None:
    leases = [lease(state, 1e6, external=True) for state in LeaseState]
    for pair, leased in itertools.product([*PAIRS, (None, None)], leases):
        assert isinstance(judge(*pair, leased, age_s=1e6), Keep)


@pytest.mark.parametrize(
    "leased, goes",
    [
        (lease(LeaseState.RESERVED, 299), False),
        (lease(LeaseState.RESERVED, 300), True),
        (lease(LeaseState.HELD, 299), False),
        (lease(LeaseState.HELD, 300), True),
        (lease(LeaseState.WARM, 299), False),
        (lease(LeaseState.WARM, 300), True),
        (lease(LeaseState.DRAINING, deadline=NOW + 1), False),
        (lease(LeaseState.DRAINING, deadline=NOW), True),
        (lease(LeaseState.CONDEMNED, 1e9), False),
    ],
)
def test_a_lease_whose_resource_is_gone_is_condemned_once_nobody_can_hold_it(leased: Leased, goes: bool) -> None:
    assert isinstance(judge(None, None, leased), Reap) == goes


def test_whatever_is_not_drained_can_be_condemned_by_anybody() -> None:
    """A verdict never asks for a transition that the lease's own state machine refuses."""
    leases = [*LIVE.values(), *LATE.values(), lease(LeaseState.WARM, 900), lease(LeaseState.WARM, 1)]
    leases.append(lease(LeaseState.DRAINING, deadline=NOW + 1e6))
    pairs = [*PAIRS, (None, None)]
    for pair, (each, updated), age_s in itertools.product(pairs, leases, (1.0, HOUR, 25 * HOUR)):
        for frozen in (False, True):
            facts = (
                None if pair[1] is None else NodeFacts("p-1-0", pair[1], NOW - age_s),
                (each, updated),
                None if pair[0] is None else QueuedFacts("p-1", pair[0], NOW - age_s),
            )
            if frozen:
                decided = frozen_verdict(*facts, NOW, SETTINGS, reason="frozen", drain_busy=True)
            else:
                decided = verdict(*facts, NOW, SETTINGS)
            if isinstance(decided, Reap) and decided.drain:
                assert each.drain(NOW + SETTINGS.drain_s, "").state is LeaseState.DRAINING
            elif isinstance(decided, Reap):
                assert each.condemn("", by="", updated=updated, now=NOW).state is LeaseState.CONDEMNED


def frozen(leased: Leased | None, *, drain_busy: bool = False) -> Keep | Reap:
    node, queued = NodeFacts("p-1-0", "READY", NOW - 60), QueuedFacts("p-1", "ACTIVE", NOW - 60)
    return frozen_verdict(node, leased, queued, NOW, SETTINGS, reason="budget", drain_busy=drain_busy)


def test_a_frozen_fleet_keeps_nothing_warm_and_drains_what_is_busy_only_if_told_to() -> None:
    assert frozen(lease(LeaseState.WARM, 1)) == Reap("budget")
    assert frozen(lease(LeaseState.WARM, 1, warm_until=NOW + 1e6)) == Reap("budget")
    assert isinstance(frozen(lease(LeaseState.WARM, 1, external=True)), Keep)
    assert isinstance(frozen(None), Keep)
    for state in (LeaseState.RESERVED, LeaseState.HELD):
        assert isinstance(frozen(lease(state)), Keep)
        assert frozen(lease(state), drain_busy=True) == Reap("budget", drain=True)
    assert isinstance(frozen(LIVE["draining"], drain_busy=True), Keep)


@pytest.mark.parametrize(
    "name, labels, ours",
    [
        ("p-1", {"launcher-platform": "p"}, True),
        ("p-1", {}, False),
        ("p-1", {"launcher-platform": "p-1"}, False),
        ("p", {"launcher-platform": "p"}, False),
        ("q-1", {"launcher-platform": "p"}, False),
        ("p2-1", {"launcher-platform": "p"}, False),
    ],
)
def test_only_what_has_label_and_prefix_is_ours(name: str, labels: dict[str, str], ours: bool) -> None:
    assert is_ours(name, labels, "p") is ours
