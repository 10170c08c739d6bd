"""costs and estimate: what is printed of what was used, and of what would be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from launcher.config import Profile, save_profile
from launcher.fleet import lease_book
from launcher.records.leases import LeaseState
from tests.cli.conftest import ZONE, Cli, World


def test_costs_sums_what_nodes_were_there_for(world: World, run: Cli) -> None:
    intent = world.node(world.job(usd_per_hour=1.2))
    now = world.platform.store.time()
    lease_book.change(
        world.platform.store,
        ZONE,
        intent.queued_resource,
        lambda it, _: dataclasses.replace(
            it, state=LeaseState.WARM, ready=now - 7200, created=now - 7300, busy_s=5400.0, usd_per_hour=1.2
        ),
    )
    header, *rows, total, note = run("costs", "--since", "1d").out.splitlines()
    assert header.split() == ["NODE", "ZONE", "ACCELERATOR", "JOBS", "HOURS", "BUSY", "IDLE", "LIST", "PRICE"]
    row = next(each for each in rows if each.startswith(intent.queued_resource))
    assert row.split()[1:] == [ZONE, "v5litepod-1", "1", "2.00", "1.50", "0.50", "$2.40"]
    assert total.startswith("total") and note.startswith("SIMULATED: nothing was paid. Since ")
    assert "at list prices of 2026-10, not a bill." in note
    document = json.loads(run("costs", "--json").out)
    (node,) = [each for each in document["nodes"] if each["name"] == intent.queued_resource]
    assert (node["busy_s"], node["alive"], node["usd"]) == (5400.0, True, pytest.approx(2.4, abs=0.1))
    assert document["usd"] == pytest.approx(sum(each["usd"] or 0.0 for each in document["nodes"]))
    assert intent.job_id in [each["job_id"] for each in document["jobs"]]


def test_costs_of_nobody_are_no_table(run: Cli, world: World) -> None:
    ran = run("costs", "--since", "1s", "--json")
    assert ran.code == 0 and json.loads(ran.out)["simulated"] is True


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default profile, of a cloud that is never asked."""
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    save_profile(Profile(name="lab", platform="p", project="project", zones=(ZONE,), bucket="bucket-1", owner="ada"))


@pytest.mark.usefixtures("lab")
def test_estimate_needs_no_cloud_and_says_that_it_is_no_bill(run: Cli) -> None:
    ran = run("estimate", "--accelerator", "v5e-8", "--for", "2h", "--count", "2")
    assert ran.out.startswith("2 x v5litepod-8, on demand, us-central1-a: $38.40 for 2 h at $19.20 an hour. ")
    assert ran.out.endswith("(list prices of 2026-10, not a bill).\n")
    document = json.loads(run("estimate", "--accelerator", "v5e-8", "--spot", "--zone", "us-west4-a", "--json").out)
    assert (document["usd_per_hour"], document["usd"], document["as_of"]) == (3.84, None, "2026-10")
    assert document["usd_at_most"] == pytest.approx(3.84 * 24)


@pytest.mark.usefixtures("lab")
def test_estimate_of_wrong_hardware_names_its_options(run: Cli) -> None:
    ran = run("estimate", "--accelerator", "v5e-9")
    assert (ran.code, ran.out) == (1, "") and ran.err.startswith(
        "launcher: error: --accelerator: 'v5e-9': no v5e slice"
    )
