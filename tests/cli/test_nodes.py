"""nodes list and nodes down: what is shown, what is deleted, what is never touched."""

from __future__ import annotations

import dataclasses
import json

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.fleet import lease_book
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import JobPaths
from tests.cli.conftest import ZONE, Cli, World


def listed(run: Cli) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads(run("nodes", "--json").out)}


def hold(world: World, resource: str, **changes: object) -> None:
    """Changes the lease as somebody else would have written it."""

    def step(lease: Lease, _: object) -> Lease:
        return dataclasses.replace(lease, **changes)  # type: ignore[arg-type]

    lease_book.change(world.platform.store, ZONE, resource, step)


def test_list_shows_a_node_its_state_and_who_has_it(world: World, run: Cli) -> None:
    job = world.job()
    intent = world.node(job)
    node = listed(run)[intent.queued_resource]
    assert (node["zone"], node["accelerator"], node["state"], node["words"]) == (ZONE, "v5litepod-1", "ACTIVE", "ready")
    assert (node["owner"], node["lease"], node["holder"]) == (world.owner, "RESERVED", f"{job.job_id}/1")
    assert (node["nodes"], node["usd_per_hour"], node["simulated"]) == ([intent.node], 1.2, True)
    header, *rows = run("nodes", "list").out.splitlines()
    assert header.split()[:5] == ["NAME", "ZONE", "ACCELERATOR", "STATE", "OWNER"]
    row = next(each for each in rows if each.startswith(f"{intent.queued_resource}  {ZONE}"))
    assert row.split()[3:6] == ["ready", world.owner, "RESERVED"] and row.endswith("SIMULATED")
    hold(world, intent.queued_resource, state=LeaseState.HELD, holder=f"{intent.job_id[:-1]}z/2")
    assert f"HELD by {intent.job_id[:-1]}z/2" in run("nodes").out


def test_list_finds_a_node_in_a_zone_that_the_profile_does_not_name(world: World, run: Cli) -> None:
    zone = "us-east1-d"
    assert zone not in world.platform.profile.zones
    intent = world.node(world.job(accelerator="v6e-1", runtime_version="v2-alpha-tpuv6e", zones=(zone,)))
    assert listed(run)[intent.queued_resource]["zone"] == zone


@pytest.mark.parametrize("labels", [{}, {"launcher-platform": "other"}])
def test_what_is_not_ours_is_neither_listed_nor_deleted(world: World, run: Cli, labels: dict[str, str]) -> None:
    name = f"sim-lookalike-{len(labels)}"
    spec = NodeSpec(name, f"{name}-0", "v5litepod-1", "v2-alpha-tpuv5-lite", labels, {})
    world.ask_for(ZONE, spec)
    assert name not in listed(run)
    for wanted in (name, f"{name}-0"):
        ran = run("nodes", "down", wanted, "--force")
        assert ran.code == 1
        assert ran.err.startswith(f"launcher: error: {wanted} in {ZONE} was not made by platform sim")
    assert world.platform.nodes.get_queued_resource(ZONE, name) is not None


def test_down_of_a_name_that_does_not_exist_names_similar_ones(world: World, run: Cli) -> None:
    intent = world.node(world.job())
    ran = run("nodes", "down", intent.queued_resource[:-1] + "7")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1 and intent.queued_resource in ran.err
    assert world.exists(intent)


@pytest.mark.parametrize("which", ["queued_resource", "node"])
def test_down_cancels_the_own_job_that_uses_the_node(world: World, run: Cli, which: str) -> None:
    job = world.job()
    intent = world.node(job)
    ran = run("nodes", "down", getattr(intent, which), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"name": intent.queued_resource, "zone": ZONE, "cancelled_job": job.job_id}
    assert f"launcher: cancelling job {job.job_id}, which uses the node\n" in ran.err
    assert not world.exists(intent)
    assert world.lease(intent).state is LeaseState.CONDEMNED
    outcome = world.platform.store.read(JobPaths(job.owner, job.job_id).outcome)
    assert outcome is not None and json.loads(outcome.data)["status"] == "CANCELLED"


def test_down_of_a_node_that_somebody_else_uses_needs_force(world: World, run: Cli) -> None:
    job = world.job(owner="grace")
    intent = world.node(job)
    refused = run("nodes", "down", intent.queued_resource)
    assert (refused.code, refused.out) == (1, "")
    assert f"in use by {job.job_id}/1 of grace (RESERVED)" in refused.err and "--force" in refused.err
    assert world.exists(intent) and world.lease(intent).state is LeaseState.RESERVED
    forced = run("nodes", "down", intent.queued_resource, "--force")
    assert (forced.code, forced.out) == (0, f"node {intent.queued_resource} is gone\n")
    assert not world.exists(intent)
    lease = world.lease(intent)
    assert (lease.state, lease.reason) == (LeaseState.CONDEMNED, f"deleted by {world.owner}")


def test_force_does_not_wait_for_the_deadline_of_a_node_that_is_draining(world: World, run: Cli) -> None:
    intent = world.node(world.job(owner="grace"))
    hold(world, intent.queued_resource, state=LeaseState.DRAINING, deadline=2e10, reason="uptime")
    assert run("nodes", "down", intent.queued_resource).code == 1
    assert world.exists(intent)
    assert run("nodes", "down", intent.queued_resource, "--force").code == 0
    assert not world.exists(intent)


@pytest.mark.parametrize(
    "unused",
    [
        {"state": LeaseState.WARM, "holder": "", "writer": ""},
        {"state": LeaseState.HELD, "ttl_s": -2.0},
        {"state": LeaseState.DRAINING, "deadline": 1.0},
        {"state": LeaseState.CONDEMNED, "reason": "the deletion was lost"},
    ],
    ids=["warm", "expired", "drained", "condemned"],
)
def test_anybody_may_delete_what_nobody_uses(world: World, run: Cli, unused: dict[str, object]) -> None:
    intent = world.node(world.job(owner="grace"))
    hold(world, intent.queued_resource, **unused)
    ran = run("nodes", "down", intent.queued_resource)
    assert ran.code == 0, ran.err
    assert not world.exists(intent)
    assert world.lease(intent).state is LeaseState.CONDEMNED


def test_a_node_without_a_lease_gets_its_tombstone_before_it_is_deleted(world: World, run: Cli) -> None:
    intent = world.node(world.job(), lease=False)
    assert listed(run)[intent.queued_resource]["lease"] is None
    assert run("nodes", "down", intent.queued_resource).code == 0
    assert not world.exists(intent)
    assert world.lease(intent).state is LeaseState.CONDEMNED


def test_a_list_that_fails_is_an_error_and_no_empty_list(
    world: World, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.simulator_process._ZONES", (ZONE, "nowhere-east1-a"))
    ran = run("nodes", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("launcher: error: ") and "nowhere-east1-a" in ran.err
