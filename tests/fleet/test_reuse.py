"""Nodes that were there before a job: what the job may do to them, and what not, however it ends."""

from __future__ import annotations

import io
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from launcher import cancelling
from launcher.errors import ConnectError, FleetFrozen
from launcher.fleet import agent_link, lease_book
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.engine import Engine
from launcher.fleet.session import Session, Sessions, new_holder
from launcher.records import codec
from launcher.records.frames import OUTCOME, PHASE, Frame
from launcher.records.freeze import Freeze
from launcher.records.jobs import Intent, JobRecord, JobStatus, Outcome, WorkerStatus
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import FREEZE, JobPaths
from launcher.records.spec import Spec
from launcher.terminal import Console
from tests.fleet.fakes import ZONE, Fake, fake
from tests.fleet.test_pool import warm


class Link:
    """An agent on which every job succeeds. `before` is called first, and may raise."""

    def __init__(self, world: Fake) -> None:
        self._world = world
        self.before = lambda: None

    def send(self, spec: Spec) -> None:
        self._spec = spec

    def frames(self, cancel: threading.Event | None = None) -> Iterator[Frame]:
        self.before()
        spec = self._spec
        resource = spec.queued_resource
        if spec.lease_token:
            lease_book.change(self._world.store, ZONE, resource, lambda it, _: it.hold(spec.holder, "worker"))
        yield Frame(PHASE, codec.encode(WorkerStatus(1, 0, "running", 0.0)))
        yield Frame(OUTCOME, codec.encode(Outcome(spec.job.job_id, JobStatus.SUCCEEDED, "report")))

    def pending(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Fake:
    world = fake(shared_pool=True)
    transport = types.SimpleNamespace(close=lambda: None, alive=lambda: True)
    vars(world.platform)["connector"] = types.SimpleNamespace(connect=lambda target: transport)
    monkeypatch.setattr(agent_link, "session", lambda *_: Link(world))
    return world


def engine(world: Fake, job: JobRecord, sessions: Sessions | None = None) -> Engine:
    console = Console(err=io.StringIO(), out=io.StringIO())
    agent = AgentFile("0" * 64, b"")
    return Engine(world.platform, job, agent, "ab", {}, {}, console, threading.Event(), sessions or Sessions())


def connectable(world: Fake, **facts: Any) -> None:
    warm(world, host_keys=({"ssh-ed25519": "AAAA"},), hostnames=("",), **facts)


def lease(world: Fake, name: str = "p-one") -> Lease:
    found = lease_book.read(world.store, ZONE, name)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("facts", [{"owner": "bob"}, {"warm_until": 1_000_000.0 + 3600}, {"node": "p-one"}])
@pytest.mark.parametrize("keep_warm_s", [0.0, 900.0])
def test_a_call_that_keeps_nothing_warm_deletes_only_its_own(world: Fake, facts: Any, keep_warm_s: float) -> None:
    """Prepared ahead counts by GCS's clock, which is years behind this machine's here."""
    asked = {key: facts[key] for key in facts if key == "node"}
    connectable(world, keep_warm_s=keep_warm_s, **{key: facts[key] for key in facts if key not in asked})
    outcome = engine(world, world.job(**asked)).run()
    assert outcome.status is JobStatus.SUCCEEDED
    assert list(world.nodes.specs) == ["p-one"] and lease(world).state is LeaseState.HELD


def test_its_own_is_deleted_by_a_call_that_keeps_nothing_warm(world: Fake) -> None:
    connectable(world)
    engine(world, world.job()).run()
    assert not world.nodes.specs


def test_a_node_that_the_caller_left_before_anything_was_started_is_warm_again(world: Fake) -> None:
    connectable(world)
    one = engine(world, world.job())

    def interrupted(target: object) -> Any:
        one.cancel.set()
        raise ConnectError("not yet", transient=True)

    world.platform.connector.connect = interrupted  # type: ignore[method-assign]
    assert one.run().status is JobStatus.CANCELLED
    assert lease(world).state is LeaseState.WARM and "p-one" in world.nodes.specs and one.intent is None


@pytest.mark.parametrize("owner, state", [("bob", LeaseState.WARM), ("ada", LeaseState.CONDEMNED)])
def test_who_cannot_reach_a_node_deletes_only_his_own_and_makes_another(
    world: Fake, owner: str, state: LeaseState
) -> None:
    connectable(world, owner=owner)
    connect = world.platform.connector.connect

    def unreachable(target: Any) -> Any:
        if "p-one" in target.label:
            raise ConnectError("no route")
        return connect(target)

    world.platform.connector.connect = unreachable  # type: ignore[method-assign]
    assert engine(world, world.job(keep_warm_s=900.0)).run().status is JobStatus.SUCCEEDED
    assert lease(world).state is state
    assert len(world.nodes.specs) == (2 if state is LeaseState.WARM else 1)


def test_a_named_node_is_the_sessions_of_this_process_first_and_never_another_threads(world: Fake) -> None:
    connectable(world)
    sessions = Sessions()
    job = world.job(node="p-one", keep_warm_s=900.0)
    engine(world, job, sessions).run()
    before = lease(world)
    assert engine(world, world.job(node="p-one-0", keep_warm_s=900.0), sessions).run().status is JobStatus.SUCCEEDED
    assert lease(world) == before
    # Another thread's call has the session now: the node is in use, and what it runs goes on.
    refused = engine(world, world.job(node="p-one", keep_warm_s=900.0), Sessions()).run()
    assert refused.status is JobStatus.FAILED and "in use" in refused.report
    assert lease(world) == before
    assert new_holder("ada") != new_holder("ada")


def test_a_session_takes_its_node_again_only_from_itself(world: Fake) -> None:
    connectable(world)
    sessions = Sessions()
    engine(world, world.job(keep_warm_s=900.0), sessions).run()
    (idle,) = sessions._idle
    assert isinstance(idle, Session)
    lease_book.change(world.store, ZONE, "p-one", lambda it, _: it.release(it.holder))
    idle.holding = False
    engine(world, world.job(keep_warm_s=900.0), Sessions()).run()  # another thread, which was quicker
    taken = lease(world)
    assert engine(world, world.job(keep_warm_s=900.0), sessions).run().status is JobStatus.SUCCEEDED
    assert lease(world) == taken and len(world.nodes.specs) == 2


def test_while_the_platform_is_frozen_a_session_runs_nothing_more(world: Fake) -> None:
    connectable(world)
    sessions = Sessions()
    engine(world, world.job(keep_warm_s=900.0), sessions).run()
    freeze = Freeze(0.0, "budget", 2.0, 1.0, "USD", 1.0, "message", 1.0)
    world.store.create(FREEZE, codec.encode(freeze))
    refused = engine(world, world.job(keep_warm_s=900.0), sessions).run()
    assert FleetFrozen.__name__ in refused.report and lease(world).state is LeaseState.HELD


# --- cancelling ---------------------------------------------------------------------------------------------


def held(world: Fake, job: JobRecord, runs: str = "", writer: str = "worker", **facts: Any) -> None:
    """The node is the job's, which took it when it was warm; or the next job's of its session."""
    connectable(world, **facts)
    intent = Intent(job.job_id, 1, ZONE, "p-one", "p-one-0", "warm", 0.0, holder="me", made=False)
    world.store.create(JobPaths("ada", job.job_id).intent(1), codec.encode(intent))
    runs = runs or f"ada/{job.job_id}/1"
    lease_book.change(world.store, ZONE, "p-one", lambda it, _: it.hold("me", writer, job=runs))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "facts, asked",
    [
        ({"warm_until": 1_000_000.0 + 3600}, {}),
        ({"owner": "bob"}, {}),
        ({}, {"node": "p-one"}),
        ({"runs": "ada/next/1"}, {}),
    ],
)
def test_a_cancel_deletes_no_node_that_is_not_the_jobs_alone(
    world: Fake, facts: dict[str, Any], asked: dict[str, Any], force: bool
) -> None:
    job = world.job(**asked)
    held(world, job, **facts)
    assert cancelling.cancel(world.platform, job, timeout_s=0.0, force=force)
    assert lease(world).state is LeaseState.HELD and "p-one" in world.nodes.specs


def test_what_a_driver_that_is_gone_had_taken_and_not_used_is_given_back(world: Fake) -> None:
    job = world.job(node="p-one")
    held(world, job, writer="client")
    assert cancelling.cancel(world.platform, job, timeout_s=0.0, force=True)
    assert lease(world).state is LeaseState.WARM


def test_a_warm_node_that_the_job_did_not_make_survives_its_forced_end(world: Fake) -> None:
    job = world.job()
    held(world, job)
    lease_book.change(world.store, ZONE, "p-one", lambda it, _: it.release("me"))
    assert cancelling.cancel(world.platform, job, timeout_s=0.0, force=True)
    assert lease(world).state is LeaseState.WARM and "p-one" in world.nodes.specs
