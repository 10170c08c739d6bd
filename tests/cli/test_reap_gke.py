"""`launcher reap` over a GKE cluster in the simulator: a stuck pool is emptied, then the idle cluster deleted."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from launcher.config import load_profile
from launcher.fleet.platform import Platform
from launcher.records.paths import PLATFORM
from tests.cli.conftest import Cli

ZONE = "us-central1-a"
POOL = {"name": "v6e-8", "config": {"machineType": "ct6e-standard-4t"}, "locations": ["us-central1-b"]}
DNS = {"dnsEndpointConfig": {"allowExternalTraffic": True}}
CLUSTER = {"name": "tpu", "resourceLabels": {"launcher-platform": "sim"}, "controlPlaneEndpointsConfig": DNS}


def test_a_stuck_pool_is_emptied_and_the_idle_cluster_deleted(
    fresh_simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch, run: Cli
) -> None:
    for name, value in fresh_simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    profile = load_profile()
    url, project = profile.tpu_endpoint, profile.project
    platform = {
        "schema": 1,
        "platform": profile.platform,
        "project": project,
        "zones": list(profile.zones),
        "bucket": profile.bucket,
        "control_bucket": profile.control_bucket,
        "gke": {"cluster": "tpu", "location": ZONE, "idle_s": 1800, "delete_idle": True},
    }
    Platform(profile).control_store.create(PLATFORM, json.dumps(platform).encode())

    def ask(path: str, **body: Any) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def reap(*options: str) -> list[str]:
        ran = run("reap", *options)
        assert ran.code == 0, ran.err
        return [line.partition(":")[0] for line in ran.out.splitlines()]

    for api in ("compute", "container"):
        ask(f"serviceusage.googleapis.com/v1/projects/{project}/services/{api}.googleapis.com:enable")
    parent = f"container.googleapis.com/v1/projects/{project}/locations/{ZONE}/clusters"
    ask(parent, cluster={**CLUSTER, "nodePools": [POOL]})
    ask(f"{parent}/tpu/nodePools/v6e-8:setSize", nodeCount=2)

    mark, empty = f"mark pool tpu/v6e-8 in {ZONE}", f"empty pool tpu/v6e-8 in {ZONE}"
    assert [reap("--dry-run"), reap(), reap()] == [[f"would {mark}"], [mark], []]
    ask("_sim/advance", seconds=1800)
    assert [reap("--zone", ZONE), reap("--dry-run"), reap()] == [[], [f"would {empty}"], [empty]]
    assert reap() == [f"mark cluster tpu in {ZONE}"]
    ask("_sim/advance", seconds=1800)
    job = {"metadata": {"namespace": "default", "name": "train-0"}, "status": {"phase": "Pending"}}
    ask("_sim/pods", cluster="tpu", pods=[job])
    assert reap() == []
    ask("_sim/pods", cluster="tpu", pods=[])
    assert reap() == [f"mark cluster tpu in {ZONE}"]
    ask("_sim/advance", seconds=1800)
    assert [reap(), reap()] == [[f"delete cluster tpu in {ZONE}"], []]
