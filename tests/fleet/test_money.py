"""Whatever fails, and whenever: what was asked for is condemned and deleted, or somebody knows that it is not."""

from __future__ import annotations

import contextlib
import io
import threading

import pytest

from launcher import cancelling
from launcher.cloud.seams import NodeSpec
from launcher.errors import CloudError, PermissionDenied, Unavailable
from launcher.fleet import lease_book
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.engine import Engine
from launcher.fleet.job_records import read_outcome
from launcher.fleet.release import delete
from launcher.fleet.session import Sessions
from launcher.records import codec
from launcher.records.jobs import Intent, JobRecord, JobStatus
from launcher.records.leases import TTL_S, LeaseState, reserve
from launcher.records.paths import JobPaths, node_id, queued_resource_id
from launcher.terminal import Console
from tests.fleet.fakes import ZONE, Fake, fake

OUTAGE = Unavailable("503")


def engine(world: Fake, job: JobRecord, **limits: float) -> Engine:
    console = Console(err=io.StringIO())
    agent = AgentFile("0" * 64, b"")
    return Engine(world.platform, job, agent, "ab", {}, {}, console, threading.Event(), Sessions(), **limits)


@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), PermissionDenied("403"), OUTAGE], ids=lambda it: type(it).__name__
)
def test_a_failure_of_any_one_call_leaves_no_node_that_nobody_knows_of(error: BaseException) -> None:
    counted = fake()
    engine(counted, counted.job()).run()
    assert {"create", "connect", "delete"} <= set(counted.calls.made)
    for broken in range(1, len(counted.calls.made) + 1):
        world = fake()
        job = world.job()
        world.calls.fail = lambda number, name, broken=broken: error if number == broken else None
        one = engine(world, job)
        with contextlib.suppress(RuntimeError, CloudError):
            one.run()
        made = world.calls.made
        failed = f"call {broken}, {made[broken - 1]}"
        assert not world.nodes.specs or one.intent is not None, failed
        if isinstance(error, CloudError) and made[broken - 1] != "delete":
            assert not world.nodes.specs, failed
        if isinstance(error, CloudError) and world.nodes.specs:
            found = lease_book.read(world.store, ZONE, queued_resource_id("p", job.job_id, 1))
            assert found is not None and found[0].state is LeaseState.CONDEMNED, failed  # its own timer deletes it


def test_an_outage_of_the_api_does_not_end_a_release_before_its_time() -> None:
    world = fake()
    world.calls.fail = lambda number, name: OUTAGE if world.clock.now < 500 else None
    assert delete(world.platform, ZONE, "q", timeout_s=600.0)
    world.calls.fail = lambda number, name: OUTAGE
    with pytest.raises(Unavailable):
        delete(world.platform, ZONE, "q", timeout_s=60.0)


def test_a_deletion_that_google_refuses_is_told_at_once() -> None:
    world = fake()
    world.calls.fail = lambda number, name: PermissionDenied("403")
    with pytest.raises(PermissionDenied):
        delete(world.platform, ZONE, "q", timeout_s=600.0)
    assert world.clock.now == 0.0


def test_an_outage_of_the_api_ends_no_wait_for_hardware() -> None:
    world = fake()
    outage = {"create", "get", "get node", "guest attributes"}
    world.calls.fail = lambda number, name: OUTAGE if name in outage and world.calls.made.count(name) < 4 else None
    job = world.job()
    outcome = engine(world, job).run()
    assert "no SSH in these tests" in outcome.report and not world.nodes.specs


def test_an_answer_that_was_lost_is_asked_for_again_and_found_done() -> None:
    world = fake()
    lost = iter([OUTAGE])
    world.calls.fail = lambda number, name: next(lost, None) if name == "created" else None
    engine(world, world.job()).run()
    assert world.calls.made.count("create") == 2 and not world.nodes.specs


def test_a_wait_has_its_deadline_also_in_an_outage() -> None:
    world = fake()
    world.calls.fail = lambda number, name: OUTAGE if name == "create" else None
    outcome = engine(world, world.job(wait_timeout_s=120.0)).run()
    assert '"kind":"Unavailable"' in outcome.report and 120 <= world.clock.now < 300


def test_a_cancel_that_looks_before_the_node_is_created_still_wins() -> None:
    world = fake()
    job = world.job()
    states: list[bool] = []
    world.nodes.creating = lambda: states.append(cancelling.cancel(world.platform, job, timeout_s=0.0))
    outcome = engine(world, job).run()
    assert states == [True]
    assert outcome.status is JobStatus.CANCELLED and not world.nodes.specs


def test_nothing_is_created_for_a_job_that_was_cancelled_before() -> None:
    world = fake()
    job = world.job()
    cancelling.cancel(world.platform, job, timeout_s=0.0)
    assert engine(world, job).run().status is JobStatus.CANCELLED
    assert "create" not in world.calls.made


def test_a_cancel_from_elsewhere_ends_a_wait_for_hardware() -> None:
    world = fake()
    job = world.job()
    world.nodes.state = "WAITING_FOR_RESOURCES"
    asked = threading.Thread(target=lambda: cancelling.request_cancel(world.platform, job))
    world.nodes.creating = lambda: asked.start()
    assert engine(world, job).run().status is JobStatus.CANCELLED
    assert not world.nodes.specs
    asked.join()


def test_a_node_whose_deletion_takes_too_long_is_handed_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake()
    monkeypatch.setattr(world.nodes, "delete_queued_resource", lambda zone, name: None)
    one = engine(world, world.job(), release_timeout_s=10.0)
    one.run()
    assert one.intent is not None
    found = lease_book.read(world.store, ZONE, one.intent.queued_resource)
    assert found is not None and found[0].state is LeaseState.CONDEMNED


def test_an_intent_that_names_another_resource_deletes_nothing() -> None:
    world = fake()
    job = world.job()
    intent = Intent(job.job_id, 1, ZONE, "somebody-elses", "somebody-elses-0", "why", 0.0)
    world.store.create(JobPaths("ada", job.job_id).intent(1), codec.encode(intent))
    with pytest.raises(CloudError, match="another resource"):
        cancelling.cancel(world.platform, job, timeout_s=0.0)
    assert "delete" not in world.calls.made


# --- a job that nobody drives any more ----------------------------------------------------------------------


def lost(world: Fake, job: JobRecord) -> bool:
    cancelling.settle_if_lost(world.platform, job)
    return read_outcome(world.platform, job) is not None


def attempt(world: Fake, job: JobRecord, *, lease: bool = True) -> Intent:
    """What a driver has written before it asks for a node."""
    resource = queued_resource_id("p", job.job_id, 1)
    intent = Intent(job.job_id, 1, ZONE, resource, node_id(resource), "first choice", 0.0, holder="driver")
    world.store.create(JobPaths("ada", job.job_id).intent(1), codec.encode(intent))
    if lease:
        facts = {"accelerator": "v5litepod-1", "spot": False, "keep_warm_s": job.keep_warm_s}
        reserved = reserve(resource=resource, zone=ZONE, platform="p", owner="ada", holder="driver", **facts)
        lease_book.create(world.store, reserved)
    return intent


def node(world: Fake, resource: str) -> None:
    world.nodes.create_queued_resource(ZONE, NodeSpec(resource, f"{resource}-0", "v5litepod-1", "r", {}, {}))


@pytest.mark.parametrize("records", ["job", "intent"])
def test_a_job_whose_driver_died_before_it_had_a_lease_is_lost_after_a_while(records: str) -> None:
    world = fake()
    job = world.job()
    if records == "intent":
        attempt(world, job, lease=False)
    world.store.now += 800
    assert not lost(world, job)
    world.store.now += 200
    assert lost(world, job)


def test_a_driver_that_was_killed_while_it_waited_leaves_nothing_once_somebody_looks() -> None:
    world = fake()
    job = world.job()
    intent = attempt(world, job)
    node(world, intent.queued_resource)
    world.store.now += 2 * TTL_S - 1
    assert not lost(world, job) and world.nodes.specs
    world.store.now += 1
    assert lost(world, job) and not world.nodes.specs
    found = lease_book.read(world.store, ZONE, intent.queued_resource)
    assert found is not None and found[0].state is LeaseState.CONDEMNED


def test_a_lease_that_is_renewed_keeps_its_job_for_ever() -> None:
    world = fake()
    job = world.job()
    intent = attempt(world, job)
    for _ in range(20):
        world.store.now += 200
        lease_book.change(world.store, ZONE, intent.queued_resource, lambda it, _: it.renew(it.holder))
        assert not lost(world, job)


def test_a_node_that_was_given_up_ends_its_job_when_its_worker_has_had_time_to_tell() -> None:
    world = fake()
    job = world.job()
    intent = attempt(world, job)
    lease_book.condemn(world.store, ZONE, intent.queued_resource, "test", by="driver")
    world.store.now += TTL_S
    assert not lost(world, job)
    world.store.now += TTL_S
    assert lost(world, job)
