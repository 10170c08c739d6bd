"""What nodes and jobs cost, summed from leases and job records."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.fleet import lease_book
from launcher.fleet.costs import NodeCost, clock_words, goodbye, span_words, sum_costs
from launcher.records import codec
from launcher.records.jobs import Intent, JobRecord, JobStatus, Outcome, WorkerStatus
from launcher.records.leases import Lease, LeaseState, reserve
from launcher.records.paths import JobPaths, new_job_id, queued_resource_id
from tests.fleet.fakes import ZONE, Fake, fake

WEEK_S = 7 * 86400.0
HOUR_S = 3600.0


@pytest.fixture
def world() -> Fake:
    world = fake()
    world.store.now = time.time()  # job ids carry this machine's time
    return world


def node(world: Fake, name: str, *, owner: str = "ada", there: bool = False, **changes: Any) -> None:
    """A lease whose node became READY now."""
    lease = reserve(
        resource=name,
        zone=ZONE,
        platform="p",
        owner=owner,
        holder="h",
        accelerator="v5litepod-4",
        spot=False,
        created=world.store.now - 60,
        ready=world.store.now,
        usd_per_hour=4.8,
    )
    lease_book.create(world.store, dataclasses.replace(lease.hold("h", "worker"), **changes))
    if there:
        labels = {"launcher-platform": "p"}
        world.nodes.create_queued_resource(ZONE, NodeSpec(name, f"{name}-0", "v5litepod-4", "r", labels, {}))


def end(world: Fake, name: str, **changes: Any) -> None:
    def step(it: Lease, _: object) -> Lease:
        return dataclasses.replace(it, state=LeaseState.CONDEMNED, **changes)

    lease_book.change(world.store, ZONE, name, step)


def job(world: Fake, *, owner: str = "ada", ended: bool = True, resource: str = "", **timings_s: float) -> JobRecord:
    record = dataclasses.replace(world.job(), job_id=new_job_id(world.store.now), owner=owner, usd_per_hour=1.2)
    paths = JobPaths(owner, record.job_id)
    world.store.create(paths.job, codec.encode(record))
    resource = resource or queued_resource_id("p", record.job_id, 1)
    intent = Intent(record.job_id, 1, ZONE, resource, f"{resource}-0", "first attempt", world.store.now)
    world.store.create(paths.intent(1), codec.encode(intent))
    status = WorkerStatus(1, 0, "done" if ended else "running", world.store.now, timings_s=timings_s)
    world.store.create(paths.worker(1, 0, 0), codec.encode(status))
    if ended:
        world.store.create(paths.outcome, codec.encode(Outcome(record.job_id, JobStatus.SUCCEEDED, "")))
    return record


def nodes(world: Fake, since_s: float = WEEK_S, **how: bool) -> dict[str, NodeCost]:
    return {each.name: each for each in sum_costs(world.platform, since_s, **how).nodes}


def test_a_node_costs_from_ready_until_it_was_condemned(world: Fake) -> None:
    node(world, "p-1")
    world.store.now += 2 * HOUR_S
    end(world, "p-1", busy_s=1.5 * HOUR_S)
    world.store.now += 5 * HOUR_S
    found = nodes(world)["p-1"]
    assert (found.lived_s, found.busy_s, found.idle_s) == (2 * HOUR_S, 1.5 * HOUR_S, 0.5 * HOUR_S)
    assert found.usd == pytest.approx(9.6) and not found.alive
    total = sum_costs(world.platform, WEEK_S)
    assert (total.lived_s, total.busy_s, total.usd) == (2 * HOUR_S, 1.5 * HOUR_S, pytest.approx(9.6))


def test_a_node_that_is_there_costs_until_now_and_one_that_is_gone_until_its_lease_ran_out(world: Fake) -> None:
    node(world, "p-there", there=True)
    node(world, "p-gone", ttl_s=300.0)
    world.store.now += HOUR_S
    found = nodes(world)
    assert found["p-there"].alive and found["p-there"].lived_s == HOUR_S
    assert not found["p-gone"].alive and found["p-gone"].lived_s == 300


def test_the_time_of_jobs_is_busy_and_what_came_before_their_node_is_not(world: Fake) -> None:
    record = job(world, pack=5, wait=400, connect=20, environment=60, running=1200, result=40)
    resource = queued_resource_id("p", record.job_id, 1)
    node(world, resource)
    world.store.now += HOUR_S
    end(world, resource)
    found = sum_costs(world.platform, WEEK_S)
    assert (found.nodes[0].busy_s, found.nodes[0].jobs) == (1300, 1)
    (cost,) = found.jobs
    assert (cost.job_id, cost.nodes, cost.busy_s) == (record.job_id, (resource,), 1300)
    assert cost.usd == pytest.approx(4.8 * 1300 / 3600)  # at the price of the node that it ran on


def test_a_job_that_runs_is_busy_until_now(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    record = job(world, ended=False, wait=100, connect=20)
    monkeypatch.setattr(time, "time", lambda now=world.store.now + 720: now)
    assert sum_costs(world.platform, WEEK_S).jobs[0].busy_s == pytest.approx(600)
    assert nodes(world)[queued_resource_id("p", record.job_id, 1)].busy_s == pytest.approx(600)


def test_what_ended_before_the_period_does_not_count_and_its_records_are_not_read(
    world: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.now -= 10 * 86400
    old = job(world, running=60)
    node(world, "p-old")
    end(world, "p-old")
    world.store.now += 10 * 86400
    job(world, running=60)
    read: list[str] = []
    plain = world.store.read
    monkeypatch.setattr(world.store, "read", lambda name: read.append(name) or plain(name))
    found = sum_costs(world.platform, WEEK_S)
    assert "p-old" not in [each.name for each in found.nodes] and len(found.jobs) == 1
    assert read and not [name for name in read if old.job_id in name or "p-old" in name]


def test_a_node_that_was_prepared_for_longer_than_the_period_counts(world: Fake) -> None:
    node(world, "p-1", there=True, state=LeaseState.WARM, warm_until=world.store.now + 12 * HOUR_S)
    world.store.now += 6 * HOUR_S
    assert nodes(world, 5 * HOUR_S)["p-1"].lived_s == 6 * HOUR_S


def test_other_owners_count_when_asked_for_and_nodes_that_are_not_ours_never(world: Fake) -> None:
    node(world, "p-mine")
    node(world, "p-grace", owner="grace")
    node(world, "theirs", external=True)
    node(world, "p-never", created=0.0, ready=0.0)
    job(world, owner="grace", running=60)
    assert set(nodes(world)) == {"p-mine"}
    everybody = sum_costs(world.platform, WEEK_S, all_owners=True)
    assert {"p-mine", "p-grace"} <= {each.name for each in everybody.nodes}
    assert not {"theirs", "p-never"} & {each.name for each in everybody.nodes}
    assert [each.owner for each in everybody.jobs] == ["grace"]


def test_an_unknown_price_is_told_and_left_out_of_the_sum(world: Fake) -> None:
    node(world, "p-1", usd_per_hour=None)
    world.store.now += HOUR_S
    end(world, "p-1")
    assert nodes(world)["p-1"].usd is None
    assert sum_costs(world.platform, WEEK_S).usd == 0.0


# --- in words -----------------------------------------------------------------------------------------------


def test_a_call_ends_with_what_its_warm_node_costs_and_how_to_end_it() -> None:
    now = time.mktime((2026, 1, 31, 14, 17, 0, 0, 0, -1))
    name = "sim-20260131-141500123-abc234-a1"
    said = goodbye(now + 900, now, 1.2, name, simulated=False)
    assert said == f"warm until 14:32 (15 min, at most $0.70 list price); end it: launcher nodes down {name}"
    assert "(15 min, list price unknown)" in goodbye(now + 900, now, None, "p-1", simulated=False)
    assert "(15 min, SIMULATED, no cost)" in goodbye(now + 900, now, 1.2, "p-1", simulated=True)


def test_a_time_of_another_day_has_its_date() -> None:
    now = time.mktime((2026, 1, 31, 23, 50, 0, 0, 0, -1))
    assert clock_words(now + 300, now) == "23:55"
    assert clock_words(now + 900, now) == "2026-02-01 00:05"


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (45, "45 s"),
        (59.9, "1 min"),
        (900, "15 min"),
        (5400, "1 h 30 min"),
        (7200, "2 h"),
        (86400, "24 h"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert span_words(seconds) == words
