from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from launcher.errors import ConfigError, FleetFrozen, NotFound, PermissionDenied, Unavailable
from launcher.fleet import freeze, guard
from launcher.fleet.guard import BudgetMessage, Guarded
from launcher.records.leases import LeaseState
from launcher.records.policy import PolicySettings
from tests.fleet.many import ZONE, Fleet

JANUARY = "2026-01-01T08:00:00Z"
FEBRUARY = "2026-02-01T08:00:00Z"


def envelope(message_id: str = "1", published: str = "2026-01-20T10:00:00.123456789Z", **changes: Any) -> Any:
    """As Pub/Sub pushes what Google's budgets publish."""
    budget = {
        "budgetDisplayName": "TPUs",
        "alertThresholdExceeded": 1.0,
        "costAmount": 1000.01,
        "costIntervalStart": JANUARY,
        "budgetAmount": 1000.00,
        "budgetAmountType": "SPECIFIED_AMOUNT",
        "currencyCode": "USD",
        **changes,
    }
    return {
        "message": {
            "attributes": {"billingAccountId": "0-0-0", "budgetId": "b", "schemaVersion": "1.0"},
            "data": base64.b64encode(json.dumps(budget).encode()).decode(),
            "messageId": message_id,
            "publishTime": published,
        },
        "subscription": "projects/p/subscriptions/s",
    }


def hear(
    fleet: Fleet, *, budget_id: str = "", drain_busy: bool = False, dry_run: bool = False, **message: Any
) -> Guarded:
    parsed = guard.parse(envelope(**message))
    options: dict[str, Any] = {"drain_busy": drain_busy, "dry_run": dry_run, "log": lambda entry: None}
    options["budget_id"] = budget_id
    return guard.on_budget_message(fleet.platform, parsed, PolicySettings(), **options)


def world() -> Fleet:
    fleet = Fleet((ZONE,))
    for name, state in (("warm", LeaseState.WARM), ("busy", LeaseState.HELD), ("coming", LeaseState.RESERVED)):
        fleet.add(f"p-{name}", age_s=60)
        fleet.lease(f"p-{name}", state, 30)
    return fleet


def states(fleet: Fleet) -> dict[str, str]:
    found = {name: fleet.read(f"p-{name}") for name in ("warm", "busy", "coming")}
    return {name: lease.state.value for name, lease in found.items() if lease is not None}


UNTOUCHED = {"warm": "WARM", "busy": "HELD", "coming": "RESERVED"}
IDLE_GONE = {**UNTOUCHED, "warm": "CONDEMNED"}
ALL_DRAINED = {"warm": "CONDEMNED", "busy": "DRAINING", "coming": "DRAINING"}


def test_a_message_is_read_as_google_writes_it() -> None:
    assert guard.parse(envelope("7", "2026-01-20T10:00:00Z")) == BudgetMessage(
        "7", 1768903200.0, "TPUs", 1000.01, 1000.0, "USD", 1767254400.0, "b"
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"message": {"data": "", "messageId": "1", "publishTime": "2026-01-20T10:00:00Z"}},
        {"message": {"data": "!!!", "messageId": "1", "publishTime": "2026-01-20T10:00:00Z"}},
        envelope(published="yesterday"),
        envelope(published="2026-01-20T10:00:00"),
        envelope(costAmount=None),
        envelope(costAmount="much"),
        envelope(costAmount=float("nan")),
        envelope(budgetAmount=float("inf")),
        envelope(costIntervalStart=None),
    ],
)
def test_what_is_no_budget_notification_is_refused(body: Any) -> None:
    with pytest.raises(ConfigError):
        guard.parse(body)


@pytest.mark.parametrize(
    "message",
    [
        {"costAmount": 999.99},
        {"costAmount": 500, "alertThresholdExceeded": 0.5},
        {"costAmount": 500, "forecastThresholdExceeded": 1.0},
        {"costAmount": 0, "budgetAmount": 0},  # "as much as last month" in the first month
    ],
)
def test_within_the_budget_nothing_happens(message: dict[str, Any]) -> None:
    fleet = world()
    guarded = hear(fleet, drain_busy=True, **message)
    assert (guarded.frozen, guarded.report, states(fleet)) == (False, None, UNTOUCHED)
    freeze.check(fleet.platform)


def test_past_the_limit_the_fleet_is_frozen_and_what_is_idle_goes_at_once() -> None:
    fleet = world()
    guarded = hear(fleet)
    assert guarded.frozen and guarded.report is not None
    assert [each.resource for each in guarded.report.acted] == ["p-warm"]
    assert (states(fleet), fleet.nodes.deleted) == (IDLE_GONE, ["p-warm"])
    warm = fleet.read("p-warm")
    assert warm is not None and warm.reason == "budget 'TPUs' is used up (1,000.01 of 1,000.00 USD)"
    with pytest.raises(FleetFrozen) as caught:
        freeze.check(fleet.platform)
    for part in ("Platform p is frozen since 1970-01-12 13:46 UTC", warm.reason, "launcher unfreeze"):
        assert part in str(caught.value)


def test_another_budget_that_tells_the_same_topic_freezes_nothing() -> None:
    fleet = world()
    heard = hear(fleet, budget_id="c")
    assert (heard.frozen, states(fleet), freeze.read(fleet.platform)) == (False, UNTOUCHED, None)
    assert heard.reason == "budget 'TPUs' (b) is not the platform's"
    assert hear(fleet, budget_id="b").frozen


def test_the_limit_itself_is_past_it() -> None:
    assert hear(world(), costAmount=1000.0).frozen


@pytest.mark.parametrize("drain_busy", [False, True])
def test_no_single_message_touches_busy_nodes_however_often_it_comes(drain_busy: bool) -> None:
    fleet = world()
    for _ in range(3):
        hear(fleet, drain_busy=drain_busy)
    assert states(fleet) == IDLE_GONE
    assert freeze.read(fleet.platform) is not None


@pytest.mark.parametrize(
    "second, drained",
    [
        ({"message_id": "2", "published": "2026-01-20T10:10:00.2Z"}, True),
        ({"message_id": "2", "published": "2026-01-20T10:10:00.1Z"}, False),
        ({"message_id": "1", "published": "2026-01-20T23:00:00Z"}, False),
        ({"message_id": "2", "published": "2026-01-20T09:00:00Z"}, True),  # delivered out of order
        ({"message_id": "2", "published": "2026-02-01T10:10:00Z", "costIntervalStart": FEBRUARY}, False),
    ],
)
def test_two_messages_apart_drain_busy_nodes_where_the_platform_opted_in(second: dict[str, str], drained: bool) -> None:
    fleet = world()
    hear(fleet, drain_busy=True)
    hear(fleet, drain_busy=True, **second)
    assert states(fleet) == (ALL_DRAINED if drained else IDLE_GONE)
    busy = fleet.read("p-busy")
    assert busy is not None and busy.deadline == (fleet.store.now + 300 if drained else 0)
    assert fleet.nodes.deleted.count("p-busy") == 0


def test_without_the_option_busy_nodes_are_never_drained() -> None:
    fleet = world()
    for hour in range(5):
        hear(fleet, message_id=str(hour), published=f"2026-01-20T1{hour}:00:00Z")
    assert states(fleet) == IDLE_GONE


def test_a_drained_node_is_not_given_more_time_by_later_messages() -> None:
    fleet = world()
    for hour in range(3):
        hear(fleet, drain_busy=True, message_id=str(hour), published=f"2026-01-20T1{hour}:00:00Z")
        fleet.store.now += 100
    busy = fleet.read("p-busy")
    assert busy is not None and busy.deadline == fleet.store.now - 200 + 300


def test_unfreezing_holds_for_the_rest_of_the_month_and_the_next_month_freezes_again() -> None:
    fleet = world()
    hear(fleet)
    lifted = freeze.unfreeze(fleet.platform, "ada")
    assert lifted is not None and lifted.lifted_by == "ada"
    freeze.check(fleet.platform)
    for hour in range(3):
        again = hear(fleet, drain_busy=True, message_id=f"later {hour}", published=f"2026-01-21T1{hour}:00:00Z")
        assert (again.frozen, again.reason) == (False, "unfrozen by ada until the budget's next interval")
    freeze.check(fleet.platform)
    assert states(fleet) == IDLE_GONE
    assert hear(fleet, message_id="9", published="2026-02-20T10:00:00Z", costIntervalStart=FEBRUARY).frozen
    with pytest.raises(FleetFrozen):
        freeze.check(fleet.platform)


def test_a_late_message_about_last_month_is_of_no_account() -> None:
    fleet = world()
    hear(fleet, costIntervalStart=FEBRUARY)
    freeze.unfreeze(fleet.platform, "ada")
    assert not hear(fleet, message_id="0").frozen
    assert freeze.read(fleet.platform) is None


def test_unfreezing_what_is_not_frozen_changes_nothing() -> None:
    fleet = world()
    assert freeze.unfreeze(fleet.platform, "ada") is None
    hear(fleet)
    assert freeze.unfreeze(fleet.platform, "ada") is not None
    assert freeze.unfreeze(fleet.platform, "grace") is None


def test_a_delivery_that_failed_half_way_is_finished_by_the_next() -> None:
    fleet = world()
    fleet.nodes.fails[f"nodes in {ZONE}"] = Unavailable("503")
    guarded = hear(fleet)
    assert guarded.report is not None and guarded.report.errors
    assert states(fleet) == UNTOUCHED
    fleet.nodes.fails.clear()
    hear(fleet)
    assert states(fleet) == IDLE_GONE


def test_what_was_used_this_moment_is_read_and_drained_too() -> None:
    fleet = world()
    fleet.lease("p-warm", LeaseState.WARM, 0)
    hear(fleet)
    assert states(fleet) == IDLE_GONE


def test_a_dry_run_freezes_nothing() -> None:
    fleet = world()
    guarded = hear(fleet, dry_run=True)
    assert guarded.frozen and guarded.report is not None
    assert [each.resource for each in guarded.report.acted] == ["p-warm"]
    assert (states(fleet), freeze.read(fleet.platform)) == (UNTOUCHED, None)


def test_a_lost_answer_to_the_freeze_is_no_lost_race() -> None:
    fleet = world()
    fleet.store.lose_answers = 1
    assert hear(fleet).frozen
    assert freeze.read(fleet.platform) is not None


def test_where_no_control_bucket_is_named_nothing_is_frozen() -> None:
    fleet = world()
    fleet.store.fails["freeze.json"] = NotFound("no such bucket")
    freeze.check(fleet.platform)


def test_where_the_platform_was_destroyed_nothing_new_is_started() -> None:
    fleet = world()
    platform = fleet.platform
    platform.profile = dataclasses.replace(platform.profile, control_bucket="c")
    vars(platform)["control_store"] = fleet.store
    freeze.check(platform)
    fleet.store.fails["freeze.json"] = NotFound("no such bucket")
    with pytest.raises(NotFound, match=r"There is no bucket c, .* platform p was destroyed, .* profile delete \w+"):
        freeze.check(platform)


@pytest.mark.parametrize("error", [Unavailable("503"), PermissionDenied("403: no")])
def test_who_cannot_tell_whether_it_is_frozen_spends_no_money(error: Exception) -> None:
    fleet = world()
    fleet.store.fails["freeze.json"] = error  # type: ignore[assignment]
    with pytest.raises(type(error)):
        freeze.check(fleet.platform)
