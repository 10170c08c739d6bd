"""`launcher reap` and `launcher unfreeze`: what they print, and how they end."""

from __future__ import annotations

import json

import pytest

from launcher.cloud.retry import ENABLE, GRANT
from launcher.errors import ApiDisabled, PermissionDenied
from launcher.fleet import freeze
from launcher.records.freeze import Freeze
from launcher.records.leases import LeaseState
from tests.cli.conftest import Cli
from tests.fleet.fakes import Project
from tests.fleet.many import OTHER_ZONE, ZONE, Fleet


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet in memory, which the commands then use."""
    fleet = Fleet()
    monkeypatch.setattr("launcher.config.load_profile", lambda name: fleet.platform.profile)
    monkeypatch.setattr("launcher.fleet.platform.platform_of", lambda profile: fleet.platform)
    vars(fleet.platform)["project"] = Project()
    for zone, name in ((ZONE, "p-1"), (OTHER_ZONE, "p-2")):
        fleet.add(name, zone=zone)
        fleet.lease(name, LeaseState.WARM, 1000, zone=zone)
    fleet.add("p-3")
    fleet.lease("p-3", LeaseState.HELD, 10)
    return fleet


LINES = [f"delete p-1 in {ZONE}: unused for 17 min", f"delete p-2 in {OTHER_ZONE}: unused for 17 min"]


def test_each_node_that_goes_is_one_line_with_its_reason(fleet: Fleet, run: Cli) -> None:
    announced = run("reap", "--dry-run")
    assert (announced.code, announced.out.splitlines()) == (0, [f"would {line}" for line in LINES])
    assert fleet.nodes.deleted == []
    done = run("reap")
    assert (done.code, done.out.splitlines()) == (0, LINES)
    assert sorted(fleet.nodes.deleted) == ["p-1", "p-2"]


def test_json_has_the_decisions(fleet: Fleet, run: Cli) -> None:
    ran = run("reap", "--dry-run", "--json", "--zone", OTHER_ZONE)
    decision = {"zone": OTHER_ZONE, "resource": "p-2", "action": "delete", "reason": "unused for 17 min"}
    assert (ran.code, json.loads(ran.out)) == (0, {"dry_run": True, "decisions": [decision], "errors": []})


def test_a_zone_that_failed_is_told_and_the_exit_code_says_so(fleet: Fleet, run: Cli) -> None:
    fleet.nodes.fails[f"nodes in {ZONE}"] = PermissionDenied("403: no")
    ran = run("reap")
    assert (ran.code, ran.out.splitlines()) == (1, LINES[1:])
    assert ran.err == f"launcher: error: {ZONE} is left as it is: 403: no\n"


def test_what_is_missing_is_told_once_for_all_zones(fleet: Fleet, run: Cli) -> None:
    said = "no. user:YOU lacks tpu.nodes.list on project project."
    grant = "gcloud projects add-iam-policy-binding project --role=roles/tpu.admin --member=user:"
    for zone in (ZONE, OTHER_ZONE):
        fleet.nodes.fails[f"nodes in {zone}"] = PermissionDenied(f"{said} {GRANT}{grant}YOU")
    vars(fleet.platform)["project"].missing = {"tpu.nodes.list", "tpu.nodes.delete"}
    ran = run("reap")
    assert (ran.code, ran.out) == (1, "")
    lines = [f"launcher: error: {zone} is left as it is: {said}" for zone in (ZONE, OTHER_ZONE)]
    assert set(lines) <= {*ran.err.splitlines()}
    assert "launcher: All permissions that user:ada@example.com lacks: tpu.nodes.list, tpu.nodes.delete" in ran.err
    assert ran.err.count(grant) == 1


def test_a_disabled_api_is_told_once_for_all_zones(fleet: Fleet, run: Cli) -> None:
    enable = "gcloud services enable tpu.googleapis.com --project project"
    for zone in (ZONE, OTHER_ZONE):
        fleet.nodes.fails[f"nodes in {zone}"] = ApiDisabled(f"not enabled. {ENABLE}{enable}")
    vars(fleet.platform)["project"].disabled = {"tpu.googleapis.com"}
    ran = run("reap")
    assert ran.code == 1 and "launcher: APIs that are not enabled: tpu.googleapis.com" in ran.err
    assert ran.err.count(enable) == 1


def test_nothing_to_delete_is_said_to_people_alone(fleet: Fleet, run: Cli) -> None:
    fleet.nodes.queued.clear()
    fleet.nodes.nodes.clear()
    fleet.store._objects.clear()
    ran = run("reap")
    assert (ran.code, ran.out, ran.err) == (0, "", "launcher: nothing to delete on platform p\n")


def test_the_profile_s_max_lifetime_counts_where_a_lease_says_none(fleet: Fleet, run: Cli) -> None:
    fleet.add("p-4", "PROVISIONING", "CREATING", age_s=25 * 3600)
    assert f"would delete p-4 in {ZONE}: older than its max_lifetime of 24.0 h" in run("reap", "--dry-run").out


def test_unfreeze_lifts_the_freeze_and_says_why_there_was_one(fleet: Fleet, run: Cli) -> None:
    assert run("unfreeze").out == "platform p is not frozen\n"
    assert json.loads(run("unfreeze", "--json").out) == {"unfrozen": False, "since": None, "reason": None}
    freeze.change(fleet.platform, lambda _: Freeze(0.0, "TPUs", 101.0, 100.0, "USD", 1e9, "1", 0.0))
    ran = run("unfreeze")
    why = "budget 'TPUs' is used up (101.00 of 100.00 USD)"
    assert (ran.code, ran.out) == (0, f"platform p starts jobs again; it was frozen because {why}\n")
    freeze.check(fleet.platform)
