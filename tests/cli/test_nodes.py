"""nodes list and nodes down: what is shown, what is deleted, what is never touched."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re

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


def test_list_shows_a_node_its_price_and_who_has_it(world: World, run: Cli) -> None:
    job = world.job()
    intent = world.node(job)
    node = listed(run)[intent.queued_resource]
    assert (node["zone"], node["accelerator"], node["state"], node["words"]) == (ZONE, "v5litepod-1", "ACTIVE", "ready")
    assert (node["owner"], node["lease"], node["goes"]) == (world.owner, "HELD", "in use")
    assert (node["holder"], node["job"]) == (world.lease(intent).holder, f"{world.owner}/{job.job_id}/1")
    assert (node["nodes"], node["usd_per_hour"], node["simulated"]) == ([intent.node], 1.2, True)
    assert node["list_price"]["as_of"] == "2026-10"
    header, *rows, note = run("nodes", "list").out.splitlines()
    assert header.split()[:7] == ["NAME", "ZONE", "ACCELERATOR", "STATE", "OWNER", "LEASE", "USER"]
    row = next(each for each in rows if each.startswith(f"{intent.queued_resource}  {ZONE}"))
    assert row.split()[3:8] == ["ready", world.owner, "HELD", f"{world.owner}@laptop", node["job"]]
    assert row.endswith("$1.20  in use")
    assert note == "SIMULATED: nothing is paid. List prices of 2026-10, not a bill."


def test_list_tells_of_a_warm_node_since_when_it_is_idle_and_when_it_goes(world: World, run: Cli) -> None:
    intent = world.node(world.job())
    hold(world, intent.queued_resource, state=LeaseState.WARM, holder="", writer="", job="", keep_warm_s=900.0)
    node = listed(run)[intent.queued_resource]
    since, goes = (datetime.datetime.fromisoformat(str(node[key])) for key in ("idle_since", "goes_at"))
    assert (goes - since).total_seconds() == 900


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
    holder = world.lease(intent).holder
    assert f"in use by {holder}, which runs grace/{job.job_id} (HELD)" in refused.err and "--force" in refused.err
    assert world.exists(intent) and world.lease(intent).state is LeaseState.HELD
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
        {"state": LeaseState.HELD, "ttl_s": -2.0},
        {"state": LeaseState.DRAINING, "deadline": 1.0},
        {"state": LeaseState.CONDEMNED, "reason": "the deletion was lost"},
    ],
    ids=["expired", "drained", "condemned"],
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


# --- up -----------------------------------------------------------------------------------------------------


def test_up_prepares_nodes_that_stay_warm_as_long_as_asked_for(world: World, run: Cli) -> None:
    ran = run("nodes", "up", "--accelerator", "v5e-1", "--count", "2", "--for", "1h30m", "--json")
    warm = json.loads(ran.out)
    world.made += [(each["zone"], each["name"]) for each in warm]
    assert ran.code == 0 and len(warm) == 2, ran.err
    assert "launcher: warming 2 x v5litepod-1, on demand, us-central1-a, for 1 h 30 min: SIMULATED, no cost" in ran.err
    assert {f"launcher: node {n} of 2: us-central1-a: asking for v5litepod-1" for n in (1, 2)} <= {
        *ran.err.splitlines()
    }
    found = listed(run)
    for each in warm:
        assert (found[each["name"]]["lease"], found[each["name"]]["goes_at"]) == ("WARM", each["until"])
        assert each["usd_at_most"] == pytest.approx(1.8)


def test_up_ends_with_until_when_and_how_to_end_each_sooner(world: World, run: Cli) -> None:
    ran = run("nodes", "up", "--accelerator", "v5e-1")
    name = re.search(r"sim-\S+-a1", ran.out)
    assert name is not None, ran.err
    world.made.append((ZONE, name[0]))
    assert re.fullmatch(
        rf"warm until .+ \(1 h, SIMULATED, no cost\)\n  end it sooner: launcher nodes down {name[0]}\n",
        ran.out,
    )


def test_up_that_gets_no_hardware_leaves_nothing_and_says_why(
    fresh_simulator: dict[str, str], run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAUNCHER_SIM_DIR", "LAUNCHER_CONFIG_DIR", "LAUNCHER_PROFILE"):
        monkeypatch.setenv(name, fresh_simulator[name])
    assert run("sim", "inject", "stockout", "--count", "2").code == 0
    ran = run("nodes", "up", "--accelerator", "v5e-1", "--count", "2", "--zone", ZONE, "--json")
    assert (ran.code, ran.out) == (1, "[]\n")
    assert "launcher: error: " in ran.err and ran.err.count("error") == 1
    assert listed(run) == {}


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["--accelerator", "v5e-9", "--zone", "x"], 1, ["--accelerator: 'v5e-9'", "--zone = 'x': zone has 'x'"]),
        (["--accelerator", "v5e-1", "--for", "soon"], 2, ["'soon' must be a time such as 30m, 2h or 1h30m"]),
        (["--accelerator", "v5e-1", "--for", "30h"], 1, ["live for 24 h at most (max_lifetime_s), 30 h is longer"]),
        ([], 2, ["Missing option '--accelerator'"]),
        (["--pool", "x"], 1, ["pool = 'x': platform sim has no pools."]),
        (["--accelerator", ""], 1, ["--accelerator"]),
        (["--accelerator", "v5litepod-8", "--zone", ""], 1, ["--zone"]),
    ],
    ids=["hardware", "time", "lifetime", "nothing", "pool", "empty", "no zone"],
)
def test_up_refuses_what_is_wrong_before_anything_is_asked_for(
    world: World, run: Cli, arguments: list[str], code: int, said: list[str]
) -> None:
    ran = run("nodes", "up", *arguments)
    assert ran.code == code and all(words in ran.err for words in said), ran.err
    assert "asking for" not in ran.err
