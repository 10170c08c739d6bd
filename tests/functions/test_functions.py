"""The deployed functions under the functions framework, with nothing but their own requirements, on the simulator."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.config import load_profile
from launcher.fleet import freeze
from launcher.functions import main
from launcher.records.leases import LeaseState
from tests.functions.serving import OTHER_ZONE, ZONE, Site, World, post, serving, site
from tests.functions.tokens import bearer

__all__ = ["site"]


@pytest.fixture
def world(fresh_simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in fresh_simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    return World(load_profile())


def fields_that_alerts_read() -> set[str]:
    """Of the functions' log, in alert policies, metrics and dashboard."""
    module = Path(__file__).parents[2] / "terraform/modules/alerts"
    found = set(re.findall(r"jsonPayload\.(\w+)", "".join(path.read_text() for path in module.glob("*.tf"))))
    values = re.search(r"\n  values = \{\n(.*?)\n  \}", (module / "dashboard.tf").read_text(), re.DOTALL)
    assert found and values
    return found | set(re.findall(r"^ +(\w+) +=", values[1], re.MULTILINE))


def launcher(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launcher.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_function_deletes_exactly_what_a_dry_run_announced(world: World, site: Site) -> None:
    world.add("sim-idle", state=LeaseState.WARM, keep_warm_s=900.0)
    world.add("sim-warm", state=LeaseState.WARM, keep_warm_s=7200.0)
    world.add("sim-held", state=LeaseState.HELD, ttl_s=7200.0, job="ada/20260101-120000000-abcdef/1")
    world.add("sim-late", OTHER_ZONE, LeaseState.HELD)
    world.add("sim-unleased")
    world.add("other")
    world.ready()
    world.ask("advance", seconds=1000)
    before = world.names()
    ran = launcher("reap", "--dry-run", "--json")
    assert ran.returncode == 0, ran.stderr
    announced = json.loads(ran.stdout)
    assert world.names() == before
    assert {each["resource"] for each in announced["decisions"]} == {"sim-idle", "sim-late", "sim-unleased"}
    with serving(world.profile, site, "idle_shutdown", DRY_RUN="true") as url:
        assert post(url, {}) == (200, announced)
    with serving(world.profile, site, "idle_shutdown") as url:
        # As Cloud Scheduler asks.
        status, answer = post(url, {}, **{"User-Agent": "Google-Cloud-Scheduler", "X-CloudScheduler": "true"})
        assert (status, answer) == (200, {**announced, "dry_run": False})
        assert world.names() == before - {"sim-idle", "sim-late", "sim-unleased"}
        assert [each["resource"] for each in site.log() if each["severity"] == "NOTICE"]
        world.ask("inject", name="forbidden", zone=OTHER_ZONE)
        status, answer = post(url, {})
        assert status == 500 and len(answer["errors"]) == 1 and OTHER_ZONE in answer["errors"][0]
        assert [each["message"] for each in site.log() if each["severity"] == "ERROR"] == answer["errors"]
        first, last = [each for each in site.log() if each.get("event") == "pass"]
        counted = {"nodes": 5, "busy": 1, "idle": 4, "waiting": 0, "jobs": 1, "over_lifetime": 0, "deleted": 3}
        assert {name: first[name] for name in counted} == counted
        assert first["usd_per_hour"] > 0 and first["idle_s"] > 0 and first["oldest_s"] >= 1000 and not first["dry_run"]
        assert (first["errors"], last["errors"], last["deleted"]) == (0, 1, 0)
        assert [each["denied"] for each in site.log() if each.get("event") == "error"] == [True]
        assert fields_that_alerts_read() - {name for each in site.log() for name in each} == set()
        reaped = launcher("reap", "--json")
        assert (reaped.returncode, len(json.loads(reaped.stdout)["errors"])) == (1, 1)


def test_a_pass_empties_the_stuck_pool_of_the_platforms_cluster(world: World, site: Site) -> None:
    project, cluster = world.profile.project, f"{ZONE}/tpu"
    parent = f"container.googleapis.com/v1/projects/{project}/locations/{ZONE}/clusters"
    for api in ("compute", "container"):
        world.post(f"serviceusage.googleapis.com/v1/projects/{project}/services/{api}.googleapis.com:enable")
    pool = {"name": "v6e-8", "config": {"machineType": "ct6e-standard-4t"}, "locations": [ZONE]}
    dns = {"dnsEndpointConfig": {"allowExternalTraffic": True}}
    wanted = {"name": "tpu", "resourceLabels": {"launcher-platform": "sim"}, "controlPlaneEndpointsConfig": dns}
    world.post(parent, cluster={**wanted, "nodePools": [pool]})
    world.post(f"{parent}/tpu/nodePools/v6e-8:setSize", nodeCount=2)
    settings = {"GKE_CLUSTER": cluster, "GKE_IDLE_S": "600", "GKE_DELETE_IDLE": "false"}
    for name in ("CONTAINER", "COMPUTE", "KUBERNETES"):
        settings[f"{name}_ENDPOINT"] = getattr(world.profile, f"{name.lower()}_endpoint")
    with serving(world.profile, site, "idle_shutdown", **settings) as url:
        status, answer = post(url, {})
        assert (status, [each["action"] for each in answer["decisions"]]) == (200, ["mark"])
        world.ask("advance", seconds=601)
        status, answer = post(url, {})
        assert (status, [each["action"] for each in answer["decisions"]]) == (200, ["empty"])
        assert [each["resource"] for each in answer["decisions"]] == ["pool tpu/v6e-8"]
        status, answer = post(url, {})
        assert (status, answer["decisions"]) == (200, [])


def pushed(message_id: str, cost: float, published: str) -> dict[str, Any]:
    budget = {
        "budgetDisplayName": "TPUs",
        "alertThresholdExceeded": 1.0,
        "costAmount": cost,
        "costIntervalStart": "2026-01-01T08:00:00Z",
        "budgetAmount": 100.0,
        "budgetAmountType": "SPECIFIED_AMOUNT",
        "currencyCode": "USD",
    }
    data = base64.b64encode(json.dumps(budget).encode()).decode()
    message = {"data": data, "messageId": message_id, "publishTime": published, "attributes": {"budgetId": "b"}}
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def test_the_guard_freezes_the_fleet_until_somebody_lifts_it(world: World, site: Site) -> None:
    world.add("sim-warm", state=LeaseState.WARM)
    world.add("sim-held", state=LeaseState.HELD)
    world.ready()
    with serving(world.profile, site, "budget_guard", GUARD_DRAIN_BUSY="true", BUDGET_ID="b") as url:
        status, answer = post(url, {"message": {"data": "?"}})
        assert (status, answer["frozen"]) == (200, False)
        assert [each["severity"] for each in site.log()] == ["ERROR"]
        status, answer = post(url, pushed("1", 99.0, "2026-01-10T10:00:00Z"))
        assert (status, answer["frozen"], freeze.read(world.platform)) == (200, False, None)
        other = pushed("9", 101.0, "2026-01-10T10:30:00Z")
        other["message"]["attributes"] = {"budgetId": "another"}
        status, answer = post(url, other)
        assert (status, answer["frozen"], freeze.read(world.platform)) == (200, False, None)
        status, answer = post(url, pushed("2", 101.0, "2026-01-10T11:00:00Z"))
        assert (status, answer["frozen"]) == (200, True)
        assert [each["resource"] for each in answer["decisions"]] == ["sim-warm"]
        assert (world.names(), world.lease("sim-held")) == ({"sim-held"}, LeaseState.HELD)
        status, answer = post(url, pushed("3", 102.0, "2026-01-10T12:00:00Z"))
        assert (status, world.lease("sim-held")) == (200, LeaseState.DRAINING)
        assert world.names() == {"sim-held"}
        assert freeze.read(world.platform) is not None
        lifted = launcher("unfreeze", "--json")
        assert lifted.returncode == 0, lifted.stderr
        assert json.loads(lifted.stdout)["reason"] == "budget 'TPUs' is used up (101.00 of 100.00 USD)"
        status, answer = post(url, pushed("4", 103.0, "2026-01-10T13:00:00Z"))
        assert (status, answer["frozen"], freeze.read(world.platform)) == (200, False, None)


def test_nobody_else_may_call_either_function(world: World, site: Site) -> None:
    world.add("sim-idle", state=LeaseState.WARM, keep_warm_s=900.0)
    world.ready()
    world.ask("advance", seconds=1000)
    message = pushed("1", 101.0, "2026-01-10T10:00:00Z")
    for target in ("idle_shutdown", "budget_guard"):
        with serving(world.profile, site, target) as url:
            assert post(url, message, Authorization="")[0] == 401
            for wrong in ({"email": "tpu-worker@project.iam.gserviceaccount.com"}, {"aud": "https://other.run.app"}):
                status, answer = post(url, message, **bearer(**wrong))
                assert status == 403 and next(iter(wrong.values())) in answer["errors"][0]
            assert [(each["severity"], each["event"]) for each in site.log()] == [("WARNING", "refused")] * 3
            assert (world.names(), freeze.read(world.platform)) == ({"sim-idle"}, None)
    with serving(world.profile, site, "idle_shutdown", AUDIENCE="") as url:
        own = url.replace("http:", "https:")
        assert post(url, {}, **bearer(aud=own))[0] == 200
        assert post(url, {}, **bearer())[0] == 403
    with serving(world.profile, site, "idle_shutdown", CALLER="") as url:
        status, answer = post(url, {})
        assert status == 500 and "no CALLER" in answer["errors"][0]


def test_all_that_is_wrong_in_its_environment_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        **dict.fromkeys(("ZONES", "BUCKET", "CALLER"), ""),
        **dict.fromkeys(("DRY_RUN", "GUARD_DRAIN_BUSY", "GKE_DELETE_IDLE"), "maybe"),
        **dict.fromkeys(("MAX_LIFETIME_S", "GKE_IDLE_S"), "1d"),
    }
    for name, value in {"PROJECT": "p", "PLATFORM": "p", **wrong}.items():
        monkeypatch.setenv(name, value)
    text, status, _ = main.idle_shutdown(None)
    (problem,) = json.loads(text)["errors"]
    assert status == 500
    assert [name for name in wrong if name not in problem] == []
    assert json.loads(capsys.readouterr().out) == {"severity": "ERROR", "event": "error", "message": problem}
