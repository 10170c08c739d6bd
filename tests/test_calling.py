"""How a call ends: what a traceback shows, and Ctrl-C at the moments that no script can hit from outside."""

from __future__ import annotations

import threading
import traceback
from unittest.mock import Mock

import pytest

import launcher
from launcher import calling
from launcher.errors import ConfigError, RemoteTraceback
from launcher.job import Job
from launcher.records.jobs import JobRecord
from launcher.records.paths import JobPaths
from launcher.submission import Submission
from tests.fleet.fakes import Fake, fake


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Fake:
    world = fake()
    monkeypatch.setattr(calling, "preload", lambda *names: None)
    return world


def recorded(world: Fake, monkeypatch: pytest.MonkeyPatch) -> JobRecord:
    job = world.job()
    submission = Submission(world.platform, job, "ab", {})
    monkeypatch.setattr(calling, "_record", lambda *_: submission)
    return job


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@launcher.run
def f() -> None:
    pass


def frames(exc: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


def test_an_error_of_the_call_shows_the_callers_line_and_no_frame_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote = KeyError("theirs")
    remote.__cause__ = RemoteTraceback("Traceback …")
    for error in (ConfigError("no"), remote, KeyboardInterrupt()):
        monkeypatch.setattr(calling, "_record", Mock(side_effect=error))
        for run in (f, f.submit):
            with pytest.raises(type(error)) as caught:
                run()
            assert caught.value is error
            assert frames(error) == ["test_an_error_of_the_call_shows_the_callers_line_and_no_frame_of_the_launcher"]


def test_a_bug_keeps_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "_record", Mock(side_effect=KeyError("ours")))
    with pytest.raises(KeyError) as caught:
        f()
    assert {"__call__", "call"} <= set(frames(caught.value))


def test_while_packing_nothing_was_started(world: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        f()
    assert not world.nodes.specs


def test_while_the_result_is_read_the_job_is_no_longer_cancelled(
    world: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = recorded(world, monkeypatch)
    monkeypatch.setattr(Job, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        f()
    assert f"job {job.job_id} had ended: FAILED. See: launcher result {job.job_id}" in capsys.readouterr().err
    assert world.store.stat(JobPaths("ada", job.job_id).cancel) is None
    assert not world.nodes.specs


def test_again_while_the_node_is_deleted_leaves_that_to_another_process(
    world: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = recorded(world, monkeypatch)
    spawned: list[str] = []
    monkeypatch.setattr(calling, "spawn_end", lambda platform, record, key, intent: spawned.append(record.job_id))
    deleting, go_on = threading.Event(), threading.Event()
    delete = world.nodes.delete_queued_resource

    def slow(zone: str, name: str) -> None:
        deleting.set()
        go_on.wait()
        delete(zone, name)

    wait = threading.Event.wait

    def second(self: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread() and deleting.is_set():
            raise KeyboardInterrupt
        return wait(self, 0.01 if threading.current_thread() is threading.main_thread() else timeout)

    monkeypatch.setattr(world.nodes, "delete_queued_resource", slow)
    monkeypatch.setattr(Job, "result", interrupted)
    running: list[threading.Thread] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (running.append(self), start(self))[1])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", second)
        with pytest.raises(KeyboardInterrupt):
            f()
    assert spawned == [job.job_id]
    assert f"See: launcher attach {job.job_id}" in capsys.readouterr().err
    go_on.set()
    for thread in running:
        thread.join()
