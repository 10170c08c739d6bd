"""The node's own timer, run by a simulated node's startup script, in simulated time: what it deletes, and when."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform
from launcher.fleet.startup import startup_script
from launcher.records import paths
from launcher.records.leases import Lease, LeaseState, reserve
from launcher.records.policy import PolicySettings
from launcher.sim import control
from launcher.simulator_process import find, to_profile
from tests.e2e.leftovers import wait_until

ZONE = "us-central1-a"
AGENT = Path(__file__).parents[2] / "launcher" / "agent"
DAY_S = 86400.0
BRIEF = PolicySettings(idle_s=60.0, grace_s=60.0, margin_s=60.0)
LATE_S = 75.0 + 5.0  # the longest time between two passes of the timer, and what a pass takes


@dataclasses.dataclass
class Timed:
    """A node with its timer, and the simulator's time."""

    platform: Platform
    folder: Path
    resource: str
    node: str

    def now(self) -> float:
        """By the date of an answer."""
        self.platform.store.create("any.json", b"{}")
        stored = self.platform.store.read("any.json")
        assert stored is not None
        return stored.now

    def advance(self, seconds: float) -> None:
        control.advance(seconds, self.folder)

    def is_there(self) -> bool:
        return self.platform.nodes.get_queued_resource(ZONE, self.resource) is not None

    def goes(self) -> bool:
        """Whether it is being deleted: that takes a moment."""
        return wait_until(lambda: not self.is_there(), 20.0)

    def found(self) -> tuple[Lease, float]:
        """Its lease, and when that was written."""
        found = lease_book.read(self.platform.store, ZONE, self.resource)
        assert found is not None
        return found[0], found[1].updated

    def state(self) -> LeaseState:
        return self.found()[0].state

    def ready(self) -> bool:
        found = self.platform.nodes.get_node(ZONE, self.node)
        return found is not None and found.state == "READY"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A simulator whose time these tests alone advance."""
    folder = tmp_path_factory.mktemp("timed") / "sim"
    control.start(folder, idle_exit_s=1800)
    try:
        yield folder
    finally:
        control.stop(folder)


@pytest.fixture
def boot(folder: Path) -> Iterator[Any]:
    """boot(lease, policy=…, …): a READY node under that lease (or none), with its timer."""
    info = find(folder)
    assert info is not None
    platform = Platform(to_profile(info))
    booted: list[Timed] = []

    def start(
        lease: Lease | None,
        policy: PolicySettings = BRIEF,
        *,
        bucket: str = "",
        check_s: int = 60,
        max_lifetime_s: float = DAY_S,
        more: str = "",
        accelerator: str = "v5litepod-1",
    ) -> Timed:
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
            policy=policy,
            check_s=check_s,
        )
        if lease is not None:
            lease_book.create(platform.store, lease)
        metadata = {"startup-script": script + more}
        spec = NodeSpec(resource, resource + "-0", accelerator, "v2-alpha-tpuv5-lite", {}, metadata)
        platform.nodes.create_queued_resource(ZONE, spec)
        node = Timed(platform, folder, resource, spec.node)
        booted.append(node)
        assert wait_until(node.ready)
        return node

    yield start
    for node in booted:
        if node.is_there():
            platform.nodes.delete_queued_resource(ZONE, node.resource)
        assert node.goes()


def lease(state: LeaseState = LeaseState.RESERVED, **changes: Any) -> Lease:
    resource = paths.queued_resource_id("sim", paths.new_job_id(), 1)
    fresh = reserve(
        resource=resource,
        zone=ZONE,
        platform="sim",
        owner="ada",
        holder="ada@laptop:1",
        accelerator="v5litepod-1",
        spot=False,
    )
    return dataclasses.replace(fresh, state=state, **changes)


def check(node: Timed, end: float) -> None:
    """It is there until `end`, and gone one pass of its timer later."""
    if (left_s := end - node.now() - 5.0) > 0:
        node.advance(left_s)
    assert node.is_there() and node.state() is not LeaseState.CONDEMNED
    node.advance(end - node.now() + LATE_S)
    assert node.goes()
    assert node.state() is LeaseState.CONDEMNED


# --- the rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "changes", "lives_s"),
    [
        ("WARM", {"keep_warm_s": 90.0}, 90 + 60),
        ("RESERVED", {"ttl_s": 120.0}, 120 + 60 + 60),
        ("HELD", {"ttl_s": 120.0, "writer": "worker"}, 120 + 60 + 60),
        ("DRAINING", {"ttl_s": 120.0}, 120 + 60 + 60),
    ],
)
def test_a_lease_that_nobody_writes_is_condemned_and_its_node_deleted(
    boot: Any, state: str, changes: dict[str, Any], lives_s: float
) -> None:
    deadline = {"deadline": 1e12} if state == "DRAINING" else {}
    node = boot(lease(LeaseState(state), **changes, **deadline))
    check(node, node.found()[1] + lives_s)
    assert "the node's timer: unused since" in node.found()[0].reason
    assert node.found()[0].holder == "ada@laptop:1"


def test_a_node_that_was_prepared_ahead_waits_for_its_hour(boot: Any) -> None:
    node = boot(lease(LeaseState.WARM, keep_warm_s=0.0, warm_until=0.0))
    node.advance(1)
    until = node.now() + 240.0
    _, updated = node.found()
    lease_book.change(
        node.platform.store, ZONE, node.resource, lambda old, _: dataclasses.replace(old, warm_until=until)
    )
    assert node.found()[1] - updated < 60.0  # it was not the node's age
    check(node, until + 60.0)


def test_a_drained_node_goes_soon_after_its_deadline(boot: Any) -> None:
    node = boot(lease(LeaseState.WARM))
    deadline = node.now() + 100.0
    lease_book.change(node.platform.store, ZONE, node.resource, lambda old, _: old.drain(deadline, "wanted back"))
    check(node, deadline + 60.0)


def test_a_condemned_node_deletes_itself_at_once(boot: Any) -> None:
    node = boot(lease(LeaseState.CONDEMNED, reason="test"))
    node.advance(LATE_S)
    assert node.goes()
    assert node.found()[0].reason == "test"


def test_a_node_that_never_got_a_lease_goes_after_its_grace_and_leaves_a_tombstone(boot: Any) -> None:
    node = boot(None)
    node.advance(60 + 60 - 20)
    assert node.is_there()
    node.advance(20 + LATE_S)
    assert node.goes()
    assert node.state() is LeaseState.CONDEMNED and node.found()[0].resource == node.resource


@pytest.mark.parametrize("state", [LeaseState.WARM, LeaseState.HELD, LeaseState.CONDEMNED])
def test_a_node_that_is_not_ours_is_left_alone(boot: Any, state: LeaseState) -> None:
    node = boot(lease(state, external=True, created=1.0, ttl_s=60.0, keep_warm_s=60.0))
    node.advance(600)
    assert node.is_there() and node.state() is state


def test_every_worker_of_a_node_has_the_timer_and_one_is_enough(boot: Any, folder: Path) -> None:
    node = boot(lease(LeaseState.WARM, keep_warm_s=90.0), accelerator="v5litepod-16")
    clocks = sorted((folder / "workers" / ZONE).glob(f"{node.node}-*/clock"))
    assert len(clocks) == 4
    assert wait_until(lambda: all(list(clock.glob("*_*")) for clock in clocks))  # one that sleeps on each
    check(node, node.found()[1] + 90 + 60)


# --- whatever fails -------------------------------------------------------------------------------------------


def test_an_unreadable_bucket_never_makes_a_node_look_idle_but_the_uptime_cap_holds(boot: Any) -> None:
    node = boot(lease(LeaseState.WARM, keep_warm_s=0.0), bucket="no-such-bucket", max_lifetime_s=900.0, check_s=120)
    node.advance(900 + 60 - 20)
    assert node.is_there()
    node.advance(20 + 150 + 5)
    assert node.goes()
    assert node.state() is LeaseState.WARM


def test_a_pass_that_fails_is_followed_by_the_next(boot: Any, folder: Path) -> None:
    node = boot(lease(LeaseState.WARM, keep_warm_s=90.0))
    control.inject("gcs-503", count=1, folder=folder)
    check(node, node.found()[1] + 90 + 60)


def test_max_lifetime_counts_from_the_creation_that_the_api_tells_not_from_the_last_boot(boot: Any) -> None:
    node = boot(lease(LeaseState.HELD, max_lifetime_s=4000.0, ttl_s=DAY_S), max_lifetime_s=DAY_S)
    created = node.now() - 4000.0 + 100.0
    lease_book.change(
        node.platform.store, ZONE, node.resource, lambda old, _: dataclasses.replace(old, created=created)
    )
    check(node, created + 4000.0 + 60.0)
    assert "max_lifetime" in node.found()[0].reason


# --- the bound, with the numbers of every day -----------------------------------------------------------------


@pytest.mark.parametrize(("state", "lives_s"), [("WARM", 25 * 60.0), ("RESERVED", 30 * 60.0), ("HELD", 30 * 60.0)])
def test_a_node_that_everybody_forgot_is_gone_within_its_bound_and_not_before(
    boot: Any, state: str, lives_s: float
) -> None:
    node = boot(lease(LeaseState(state)), PolicySettings())
    used = node.found()[1]
    node.advance(used + lives_s - 5.0 - node.now())
    assert node.is_there() and node.state() is LeaseState(state)
    node.advance(used + PolicySettings().idle_s + 20 * 60.0 - node.now())
    assert node.goes()


RENEWING = """
cat > "$HOME/renew.py" <<'END'
import json, os, urllib.request
import clock  # the agent's
def read(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
        return json.load(answer)
config = json.loads(os.environ["config"])
while True:
    meta, lease = read(config["object"]), read(config["object"] + "?alt=media")
    read(config["upload"] + meta["generation"], json.dumps(lease).encode())
    clock.sleep(60)
END
PYTHONPATH={agent} python3 "$HOME/renew.py" &
"""


def test_a_node_whose_lease_is_renewed_by_the_clock_outlives_every_idle_timeout(boot: Any) -> None:
    node = boot(
        lease(LeaseState.HELD, writer="worker"), PolicySettings(), check_s=600, more=RENEWING.format(agent=AGENT)
    )
    node.advance(3 * 3600)
    found, updated = node.found()
    assert node.is_there() and found.state is LeaseState.HELD
    assert node.now() - updated < 70.0


def test_a_lease_that_an_older_launcher_wrote_last_is_understood(boot: Any) -> None:
    node = boot(lease(LeaseState.WARM, holder=""))
    name = paths.lease(ZONE, node.resource)
    stored = node.platform.store.read(name)
    assert stored is not None
    known = ("resource", "zone", "platform", "owner", "state", "holder", "writer", "ttl_s", "token")
    older = {key: value for key, value in json.loads(stored.data).items() if key in known}
    assert node.platform.store.replace(name, json.dumps(older).encode(), stored.generation)
    node.advance(BRIEF.idle_s + BRIEF.margin_s + LATE_S)
    assert node.goes()


def test_passes_are_a_minute_and_a_random_part_of_a_quarter_apart(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    slept = tmp_path / "slept"
    # The loop's own process ends with its eighth pause.
    pause = f'echo "$1" >> {slept}; test "$(wc -l < {slept})" -lt 8 || kill "$PPID"'
    for name, text in {"sleep": pause, "python3": "exit 1", "setsid": 'exec "$@"'}.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    script = startup_script(
        project="p", zone=ZONE, queued_resource="q", bucket="b", platform="sim", owner="ada",
        storage_endpoint="http://s", tpu_endpoint="http://t", max_lifetime_s=DAY_S,
    )  # fmt: skip
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, text=True, env=env, stdout=subprocess.PIPE, timeout=60, check=True)
    pauses = [int(line) for line in slept.read_text().split()]
    assert len(pauses) == 8 and len(set(pauses)) > 1
    assert all(60 <= each <= 75 for each in pauses)
    assert done.stdout.count("will try again") == 7  # a pass that fails ends nothing
