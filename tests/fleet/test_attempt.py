"""Following an attempt through lost connections: every log byte once, and the agent started once."""

from __future__ import annotations

import dataclasses
import io
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.cloud.seams import Endpoint, Node
from launcher.errors import ConnectError, Preempted, WorkerLost
from launcher.fleet import agent_link, lease_book
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.attempt import Attempt
from launcher.fleet.job_records import settle
from launcher.fleet.session import Session
from launcher.records import codec, frames, paths
from launcher.records.frames import Frame
from launcher.records.jobs import ErrorInfo, JobStatus, Outcome
from launcher.records.leases import reserve
from launcher.records.spec import Spec
from launcher.terminal import Console
from tests.fleet.fakes import ZONE, Fake, fake

DROPPED = ConnectError("dropped", transient=True)
DONE = Frame(frames.OUTCOME, codec.encode(Outcome("job", JobStatus.SUCCEEDED, "report")))


def log(data: bytes, offset: int) -> Frame:
    return Frame(frames.LOG, data, offset)


RELEASED = Frame(frames.RELEASED, b"the idle hold is over")


class Link:
    """Gives these frames, and raises where one is an exception."""

    def __init__(self, script: tuple[Frame | ConnectError, ...], asked: list[tuple[str, Any]]) -> None:
        self._script = iter(script)
        self._asked = asked

    def send(self, spec: Spec) -> None:
        self._asked.append(("start", spec.lease_token))

    def frames(self, cancel: threading.Event | None = None) -> Iterator[Frame]:
        for each in self._script:
            if isinstance(each, ConnectError):
                raise each
            yield each

    def close(self) -> None:
        pass


@dataclasses.dataclass
class Case:
    world: Fake
    attempt: Attempt
    asked: list[tuple[str, Any]]
    out: io.StringIO


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Any:
    """case(link, link, …): an attempt whose connections give these scripts, one after the other."""

    def make(*scripts: tuple[Frame | ConnectError, ...]) -> Case:
        world, asked, out = fake(), list[tuple[str, Any]](), io.StringIO()
        left = iter(scripts)

        def follow(transport: object, agent: object, job_id: str, attempt: int, offset: int, label: str) -> Link:
            asked.append(("follow", offset))
            return Link(next(left), asked)

        monkeypatch.setattr(agent_link, "session", lambda *_: Link(next(left), asked))
        monkeypatch.setattr(agent_link, "follow", follow)
        transport = types.SimpleNamespace(close=lambda: None, alive=lambda: True)
        vars(world.platform)["connector"] = types.SimpleNamespace(connect=lambda target: transport)
        job = world.job()
        lease = reserve(
            resource="q",
            zone=ZONE,
            platform="p",
            owner="ada",
            holder="me",
            accelerator="v5litepod-1",
            spot=False,
            host_keys=({"ssh-ed25519": "AAAA"},),
        )
        lease_book.create(world.store, lease)
        spec = Spec(job, 1, ZONE, "q", "p", "b", "s", "t", "", "ab", holder="me")
        node = Node("q-0", "READY", (Endpoint("127.0.0.1", "127.0.0.1"),))
        monkeypatch.setattr(world.nodes, "get_node", lambda zone, name: node)
        console = Console(out=out, err=io.StringIO())
        session = Session(world.platform, AgentFile("0" * 64, b""), lease, node, "ada")
        session.connect()
        session.hold("me")
        return Case(world, Attempt(world.platform, spec, session, console, threading.Event()), asked, out)

    return make


def test_the_log_goes_on_at_the_byte_where_it_stopped(case: Any) -> None:
    one = case(
        (log(b"abc", 0), log(b"def", 3), DROPPED),
        (log(b"efgh", 4), log(b"abc", 0), DROPPED),
        (),
        (log(b"i", 8), DONE),
    )
    assert one.attempt.run().status is JobStatus.SUCCEEDED
    assert one.out.getvalue() == "abcdefghi"
    token = one.attempt.session.lease.token
    assert one.asked == [("start", token), ("follow", 6), ("follow", 8), ("follow", 8)]


def test_a_start_that_nobody_answered_is_made_again(case: Any) -> None:
    one = case((DROPPED,), (), (log(b"x", 0), DONE))
    one.attempt.run()
    assert [mode for mode, _ in one.asked] == ["start", "start", "start"]


def test_an_outcome_that_came_while_the_connection_was_lost_counts(case: Any) -> None:
    one = case((log(b"x", 0), DROPPED))
    settle(one.world.platform, one.attempt.spec.job, 1, JobStatus.FAILED, ErrorInfo("JobError", "ended"))
    assert one.attempt.run().status is JobStatus.FAILED


@pytest.mark.parametrize("state, error", [("PREEMPTED", Preempted), ("TERMINATED", WorkerLost), ("", WorkerLost)])
def test_a_node_that_is_gone_ends_the_attempt(
    case: Any, monkeypatch: pytest.MonkeyPatch, state: str, error: type[Exception]
) -> None:
    one = case((log(b"x", 0), DROPPED))
    gone = Node("q-0", state) if state else None
    monkeypatch.setattr(one.world.nodes, "get_node", lambda zone, name: gone)
    with pytest.raises(error, match="q-0"):
        one.attempt.run()


def test_what_no_new_connection_can_mend_is_raised(case: Any) -> None:
    with pytest.raises(ConnectError, match="other host key"):
        case((log(b"x", 0), ConnectError("other host key"))).attempt.run()
    with pytest.raises(WorkerLost, match="this worker is busy"):
        case((Frame(frames.ERROR, b"this worker is busy"),)).attempt.run()


# --- a session whose lease went back to the pool ---------------------------------------------------------------


def warm_again(one: Case) -> None:
    """The agent had the lease and released it; what it said of that is still to be read."""
    one.attempt.session.token = ""
    lease_book.change(one.world.store, ZONE, "q", lambda it, _: it.release("me"))


def test_a_lease_that_was_released_this_moment_is_taken_again_before_the_job_starts(case: Any) -> None:
    # Two answers: what the agent said by itself, and what it says to the request that it got too late.
    one = case((RELEASED, RELEASED, log(b"x", 0), DONE))
    warm_again(one)
    assert one.attempt.run().status is JobStatus.SUCCEEDED
    found = lease_book.read(one.world.store, ZONE, "q")
    assert found is not None and (found[0].holder, found[0].job) == ("me", f"ada/{one.attempt.spec.job.job_id}/1")
    assert one.asked == [("start", ""), ("start", found[0].token)]


def test_a_released_node_that_somebody_else_took_starts_nothing(case: Any) -> None:
    one = case((RELEASED,))
    warm_again(one)
    lease_book.change(one.world.store, ZONE, "q", lambda it, _: it.hold("other", "client"))
    with pytest.raises(WorkerLost, match="taken by somebody else"):
        one.attempt.run()
    assert one.asked == [("start", "")] and not one.attempt.heard


def test_a_session_writes_no_lease_while_the_agent_holds_it(case: Any) -> None:
    one = case((log(b"x", 0), DONE, log(b"y", 0), DONE))
    one.attempt.run()
    before = one.world.store.read(paths.lease(ZONE, "q"))
    Attempt(one.world.platform, one.attempt.spec, one.attempt.session, Console(), threading.Event()).run()
    assert one.world.store.read(paths.lease(ZONE, "q")) == before
    assert one.asked[1] == ("start", "")


def test_a_session_knows_googles_time_though_this_machines_clock_is_wrong(case: Any) -> None:
    one = case()
    session, world = one.attempt.session, one.world
    assert session.google_now() == world.store.now
    world.clock.now += 60
    assert session.google_now() == world.store.now + 60
    session.hold("me")
    assert session.google_now() == world.store.now
