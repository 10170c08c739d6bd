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
from launcher.fleet import agent_link
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.attempt import Attempt
from launcher.fleet.job_records import settle
from launcher.records import codec, frames
from launcher.records.frames import Frame
from launcher.records.jobs import ErrorInfo, JobStatus, Outcome
from launcher.records.spec import Spec
from launcher.terminal import Console
from tests.fleet.fakes import ZONE, Fake, fake

DROPPED = ConnectError("dropped", transient=True)
DONE = Frame(frames.OUTCOME, codec.encode(Outcome("job", JobStatus.SUCCEEDED, "report")))


def log(data: bytes, offset: int) -> Frame:
    return Frame(frames.LOG, data, offset)


class Link:
    """Gives these frames, and raises where one is an exception."""

    def __init__(self, script: tuple[Frame | ConnectError, ...]) -> None:
        self._script = script

    def __iter__(self) -> Iterator[Frame]:
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
    asked: list[tuple[str, int]]
    out: io.StringIO


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Any:
    """case(link, link, …): an attempt whose connections give these scripts, one after the other."""

    def make(*scripts: tuple[Frame | ConnectError, ...]) -> Case:
        world, asked, out = fake(), list[tuple[str, int]](), io.StringIO()
        left = iter(scripts)

        def link(mode: str, offset: int) -> Link:
            asked.append((mode, offset))
            return Link(next(left))

        monkeypatch.setattr(agent_link, "start", lambda *_: link("start", 0))
        monkeypatch.setattr(agent_link, "follow", lambda *arguments: link("follow", arguments[4]))
        transport = types.SimpleNamespace(close=lambda: None, alive=lambda: True)
        vars(world.platform)["connector"] = types.SimpleNamespace(connect=lambda target: transport)
        job = world.job()
        spec = Spec(job, 1, ZONE, "q", "p", "b", "s", "t", "", "ab")
        node = Node("q-0", "READY", (Endpoint("127.0.0.1", "127.0.0.1"),))
        monkeypatch.setattr(world.nodes, "get_node", lambda zone, name: node)
        console = Console(out=out, err=io.StringIO())
        attempt = Attempt(world.platform, spec, node, AgentFile("0" * 64, b""), console, threading.Event())
        attempt.connect()
        return Case(world, attempt, asked, out)

    return make


def test_the_log_goes_on_at_the_byte_where_it_stopped(case: Any) -> None:
    one = case(
        (log(b"abc", 0), log(b"def", 3), DROPPED),
        (log(b"efgh", 4), log(b"abc", 0), DROPPED),
        (),
        (log(b"i", 8), DONE),
    )
    assert one.attempt.run("token").status is JobStatus.SUCCEEDED
    assert one.out.getvalue() == "abcdefghi"
    assert one.asked == [("start", 0), ("follow", 6), ("follow", 8), ("follow", 8)]


def test_a_start_that_nobody_answered_is_made_again(case: Any) -> None:
    one = case((DROPPED,), (), (log(b"x", 0), DONE))
    one.attempt.run("token")
    assert [mode for mode, _ in one.asked] == ["start", "start", "start"]


def test_an_outcome_that_came_while_the_connection_was_lost_counts(case: Any) -> None:
    one = case((log(b"x", 0), DROPPED))
    settle(one.world.platform, one.attempt.spec.job, 1, JobStatus.FAILED, ErrorInfo("JobError", "ended"))
    assert one.attempt.run("token").status is JobStatus.FAILED


@pytest.mark.parametrize("state, error", [("PREEMPTED", Preempted), ("TERMINATED", WorkerLost), ("", WorkerLost)])
def test_a_node_that_is_gone_ends_the_attempt(
    case: Any, monkeypatch: pytest.MonkeyPatch, state: str, error: type[Exception]
) -> None:
    one = case((log(b"x", 0), DROPPED))
    gone = Node("q-0", state) if state else None
    monkeypatch.setattr(one.world.nodes, "get_node", lambda zone, name: gone)
    with pytest.raises(error, match="q-0"):
        one.attempt.run("token")


def test_what_no_new_connection_can_mend_is_raised(case: Any) -> None:
    with pytest.raises(ConnectError, match="other host key"):
        case((log(b"x", 0), ConnectError("other host key"))).attempt.run("token")
    with pytest.raises(WorkerLost, match="this worker is busy"):
        case((Frame(frames.ERROR, b"this worker is busy"),)).attempt.run("token")
