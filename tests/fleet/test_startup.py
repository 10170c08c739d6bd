"""The node's own timer, run by a simulated node's startup script: what it deletes, and what it leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.config import Profile
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform
from launcher.fleet.startup import startup_script
from launcher.records import paths
from launcher.records.leases import Lease, LeaseState, reserve
from launcher.simulator_process import find, to_profile
from tests.e2e.leftovers import wait_until

ZONE = "us-central1-a"
NOW: dict[str, Any] = {"idle_s": 0.0, "margin_s": 0.0, "grace_s": 0.0}


@dataclasses.dataclass
class Timed:
    """A node with a timer whose sleeps take no time and are counted."""

    platform: Platform
    resource: str
    ticks: Path

    def gone(self) -> bool:
        return self.platform.nodes.get_queued_resource(ZONE, self.resource) is None

    def checks(self) -> int:
        return len(self.ticks.read_text().splitlines()) if self.ticks.exists() else 0

    def lease(self) -> Lease:
        found = lease_book.read(self.platform.store, ZONE, self.resource)
        assert found is not None
        return found[0]


@pytest.fixture
def platform(simulator: dict[str, str]) -> Platform:
    info = find(Path(simulator["LAUNCHER_SIM_DIR"]))
    assert info is not None
    profile: Profile = to_profile(info)
    return Platform(profile)


@pytest.fixture
def boot(platform: Platform, tmp_path: Path) -> Iterator[Any]:
    """boot(lease, **limits): a node under that lease (or none), its timer ticking."""
    (tmp_path / "sleep").write_text(f"#!/bin/sh\necho tick >> {tmp_path}/ticks\nexec /bin/sleep 0.05\n")
    (tmp_path / "sleep").chmod(0o755)
    booted: list[str] = []

    def start(lease: Lease | None, *, bucket: str = "", max_lifetime_s: float = 86400.0, **limits: float) -> Timed:
        profile = platform.profile
        resource = lease.resource if lease else paths.queued_resource_id("sim", paths.new_job_id(), 1)
        script = startup_script(
            project=profile.project,
            zone=ZONE,
            queued_resource=resource,
            bucket=bucket or profile.bucket,
            platform="sim",
            owner="ada",
            storage_endpoint=profile.storage_endpoint,
            tpu_endpoint=profile.tpu_endpoint,
            max_lifetime_s=max_lifetime_s,
            **limits,
        )
        script = script.replace("#!/bin/sh\n", f"#!/bin/sh\nPATH={tmp_path}:$PATH\n", 1)
        if lease is not None:
            lease_book.create(platform.store, lease)
        spec = NodeSpec(resource, resource + "-0", "v5litepod-1", "v2-alpha-tpuv5-lite", {}, {"startup-script": script})
        platform.nodes.create_queued_resource(ZONE, spec)
        booted.append(resource)
        return Timed(platform, resource, tmp_path / "ticks")

    yield start
    for resource in booted:
        platform.nodes.delete_queued_resource(ZONE, resource)
        assert wait_until(lambda name=resource: platform.nodes.get_queued_resource(ZONE, name) is None)


def lease(**changes: Any) -> Lease:
    resource = paths.queued_resource_id("sim", paths.new_job_id(), 1)
    fresh = reserve(
        resource=resource,
        zone=ZONE,
        platform="sim",
        owner="ada",
        holder="job/1",
        accelerator="v5litepod-1",
        spot=False,
    )
    return dataclasses.replace(fresh, **changes)


def test_a_node_that_was_condemned_deletes_itself(boot: Any) -> None:
    node = boot(lease(state=LeaseState.CONDEMNED, reason="test"))
    assert wait_until(node.gone)


def test_a_dead_lease_is_condemned_and_its_node_deleted(boot: Any) -> None:
    node = boot(lease(ttl_s=1.0), **NOW)
    assert wait_until(node.gone)
    assert node.lease().state is LeaseState.CONDEMNED and "timer" in node.lease().reason
    assert node.lease().holder == "job/1"


def test_a_node_that_never_got_a_lease_deletes_itself_and_leaves_a_tombstone(boot: Any) -> None:
    node = boot(None, **NOW)
    assert wait_until(node.gone)
    tombstone = node.lease()
    assert tombstone.state is LeaseState.CONDEMNED and tombstone.resource == node.resource


def test_a_node_within_its_grace_is_left_alone_without_a_lease(boot: Any) -> None:
    node = boot(None, idle_s=0.0, margin_s=0.0)
    assert wait_until(lambda: node.checks() >= 4)
    assert not node.gone()


def test_a_live_lease_keeps_its_node(boot: Any) -> None:
    node = boot(lease(), **NOW)
    assert wait_until(lambda: node.checks() >= 4)
    assert not node.gone() and node.lease().state is LeaseState.RESERVED


def test_the_uptime_cap_needs_nothing_but_a_clock_and_the_tpu_api(boot: Any) -> None:
    node = boot(lease(), bucket="no-such-bucket", max_lifetime_s=0.5, margin_s=0.0)
    assert wait_until(node.gone)


def test_an_unreadable_bucket_never_makes_a_node_look_idle(boot: Any) -> None:
    node = boot(lease(), bucket="no-such-bucket", idle_s=0.0, margin_s=0.0)
    assert wait_until(lambda: node.checks() >= 4)
    assert not node.gone()
