from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.records import codec, frames, paths
from launcher.records.jobs import Cancel, JobStatus
from launcher.records.leases import Lease, LeaseState
from launcher.records.spec import Spec
from tests.agent.google import Google
from tests.agent.worker import HOLDER, Session, Worker, agent_archive, send


@pytest.fixture
def timed(worker: Worker, tmp_path: Path) -> Callable[..., Worker]:
    """The worker with other waiting times: a long hold, and no renewals, unless a test says so."""

    def make(**timing: float) -> Worker:
        archive = agent_archive(tmp_path / "agent.pyz", **{"session_hold_s": 60.0, "renew_s": 60.0, **timing})
        return dataclasses.replace(worker, agent=archive)

    return make


def kept(worker: Worker, function: Any, *args: Any, **changes: Any) -> Spec:
    return worker.spec(function, *args, **{"keep_warm_s": 900.0, **changes})


def change(worker: Worker, spec: Spec, **fields: Any) -> None:
    """Somebody else writes the lease."""
    with worker.google.lock:
        lease = dataclasses.replace(worker.lease(spec), **fields)
        worker.google.put(paths.lease(spec.zone, spec.queued_resource), codec.encode(lease))


def _by_value() -> Callable[[Path], int]:
    def wait(path: Path) -> int:
        print("pid", os.getpid(), flush=True)
        while not path.exists():
            time.sleep(0.01)
        return 42

    return wait


wait = _by_value()


def lease_requests(google: Google, spec: Spec) -> list[str]:
    return [method for method, path in google.requests if f"{spec.queued_resource}.json" in path]


def test_a_sessions_attempts_take_the_lease_once_and_release_it_at_its_end(
    timed: Callable[..., Worker], google: Google
) -> None:
    worker = timed()
    spec = kept(worker, abs, -1)
    session = Session(worker)
    first = session.send(spec)
    assert first.value() == 1
    taken = worker.lease(spec)
    assert (taken.state, taken.holder, taken.writer) == (LeaseState.HELD, HOLDER, "worker")
    assert taken.job == f"ada/{spec.job.job_id}/1"
    for number in (-2, -3):
        attempt = session.send(worker.next(spec, abs, number))
        assert attempt.value() == -number
    assert lease_requests(google, spec) == ["GET", "POST"]
    session.close()
    lease = worker.lease(spec)
    assert (lease.state, lease.holder, lease.job) == (LeaseState.WARM, "", "") and lease.busy_s > 0
    assert lease_requests(google, spec) == ["GET", "POST"] * 2 and google.deleted == []


def test_after_the_hold_the_lease_is_released_and_can_be_taken_over_again(timed: Callable[..., Worker]) -> None:
    worker = timed(session_hold_s=0.0)
    spec = kept(worker, abs, -1)
    session = Session(worker)
    assert session.send(spec).value() == 1
    assert session.released().offset == 1
    assert worker.lease(spec).state is LeaseState.WARM
    refused = worker.next(spec, abs, -2)
    session.send(refused)
    assert session.released().offset == 2
    again = session.send(worker.retake(refused))
    assert again.value() == 2  # nothing of it had been started before
    assert session.released().offset == 3
    busy_s = worker.lease(spec).busy_s
    assert worker.lease(spec).state is LeaseState.WARM and busy_s > 0
    session.close()


def test_a_session_that_holds_no_lease_runs_nothing(worker: Worker) -> None:
    spec = dataclasses.replace(kept(worker, print, "ran"), lease_token="")
    before = worker.lease(spec)
    session = Session(worker)
    attempt = session.send(spec)
    released = session.released()
    assert released.offset == 1 and b"not taken" in released.body
    session.close()
    assert worker.lease(spec) == before and not (attempt.folder / "started").exists()


def test_a_client_that_goes_while_its_job_runs_leaves_a_warm_node(
    timed: Callable[..., Worker], google: Google, tmp_path: Path
) -> None:
    worker = timed()
    for leave in ("end of input", signal.SIGHUP, signal.SIGKILL):
        go = tmp_path / f"go-{leave}"
        session = Session(worker)
        spec = kept(worker, wait, go)
        attempt = session.send(spec)
        attempt.until(b"\n")
        if isinstance(leave, signal.Signals):
            session.process.send_signal(leave)
            session.process.wait(30)
        else:
            session.close()
        assert worker.lease(spec).state is LeaseState.HELD
        go.touch()
        attempt.wait_for_end()
        assert google.get(attempt.names.outcome)
        assert worker.lease(spec).state is LeaseState.WARM
    assert google.deleted == []


def test_a_hangup_signal_while_nothing_runs_releases_the_lease(timed: Callable[..., Worker]) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, abs, -1)
    session.send(spec).value()
    session.process.send_signal(signal.SIGHUP)
    assert session.process.wait(30) == 0
    assert worker.lease(spec).state is LeaseState.WARM


@pytest.mark.parametrize("connected", [True, False])
def test_a_node_that_is_not_kept_warm_is_deleted(timed: Callable[..., Worker], google: Google, connected: bool) -> None:
    worker = timed(client_grace_s=0.0 if connected else 60.0)
    session = Session(worker)
    spec = worker.spec(abs, -1)
    session.send(spec).value()
    if connected:
        session.released()
    session.close()
    lease = worker.lease(spec)
    assert lease.state is LeaseState.CONDEMNED
    assert ("did not delete" if connected else "nobody was connected") in lease.reason
    assert len(google.deleted) == 1 and spec.queued_resource in google.deleted[0]


def test_attempts_of_a_session_that_is_not_kept_warm_follow_each_other(timed: Callable[..., Worker]) -> None:
    worker = timed(client_grace_s=60.0)
    session = Session(worker)
    spec = worker.spec(abs, -1)
    session.send(spec).value()
    assert session.send(worker.next(spec, abs, -2)).value() == 2
    session.close()


def test_a_node_on_which_the_setup_failed_is_not_used_again(timed: Callable[..., Worker], google: Google) -> None:
    worker = timed(client_grace_s=60.0)
    spec = kept(worker, print)
    del google.objects[paths.blob("ada", spec.job.payload.sha256)]
    session = Session(worker)
    assert session.send(spec).report().status is JobStatus.FAILED
    assert session.released().offset == 1  # at once: the client may delete it
    assert worker.lease(spec).state is LeaseState.HELD
    session.send(worker.next(spec, print))
    assert session.released().offset == 2
    session.close()
    lease = worker.lease(spec)
    assert lease.state is LeaseState.CONDEMNED and "before its code ran" in lease.reason
    assert spec.queued_resource in google.deleted[0]


def test_without_a_client_a_node_on_which_the_setup_failed_is_deleted(worker: Worker, google: Google) -> None:
    spec = kept(worker, print)
    asked = {"payload": False}

    def payload(method: str, path: str) -> bool:
        asked["payload"] = asked["payload"] or spec.job.payload.sha256 in path
        return spec.job.payload.sha256 in path

    fault = google.fail(payload, 503, times=10_000)
    attempt = worker.start(spec)
    google.wait_for(lambda: asked["payload"])
    attempt.hang_up()
    google.put(attempt.names.cancel, codec.encode(Cancel(spec.job.job_id, "ada", 0.0)))
    attempt.wait_for_end()
    fault.times = 0
    assert worker.lease(spec).state is LeaseState.CONDEMNED and len(google.deleted) == 1


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_a_node_that_is_not_ours_or_was_named_is_never_deleted(
    timed: Callable[..., Worker], google: Google, tmp_path: Path, fails: bool, connected: bool, named: bool
) -> None:
    worker = timed(session_hold_s=0.0, client_grace_s=60.0)
    spec = worker.spec(wait, tmp_path / "go", node="by-name" if named else "")  # keep_warm_s is 0
    change(worker, spec, external=not named)
    if fails:
        worker.google.put(paths.blob("ada", spec.job.payload.sha256), b"damaged")
    session = Session(worker)
    attempt = session.send(spec)
    if connected:
        (tmp_path / "go").touch()
        attempt.report()
        session.released()
    else:
        session.close()
        (tmp_path / "go").touch()
    attempt.wait_for_end()
    if connected:
        session.close()
    assert worker.lease(spec).state is LeaseState.WARM and google.deleted == []


def test_a_supervisor_that_dies_makes_its_node_suspect(timed: Callable[..., Worker], google: Google) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, wait, Path("/nonexistent"))
    attempt = session.send(spec)
    attempt.until(b"\n")
    job = os.pidfd_open(int(attempt.log.split()[1]))
    os.kill(attempt.phases[-1].pid, signal.SIGKILL)
    for _ in attempt.frames():
        pass
    assert "supervisor" in attempt.error and attempt.outcome is None
    while b"being deleted" not in session.released().body:
        pass
    assert select.select([job], [], [], 30.0)[0]  # it has ended
    os.close(job)
    lease = worker.lease(spec)
    assert lease.state is LeaseState.CONDEMNED and "supervisor died" in lease.reason
    assert spec.queued_resource in google.deleted[0]
    session.close()


def test_a_node_that_is_wanted_back_is_deleted_by_its_holder(timed: Callable[..., Worker], google: Google) -> None:
    worker = timed(renew_s=0.05)
    session = Session(worker)
    idle, busy = kept(worker, abs, -1), kept(worker, wait, Path("/nonexistent"))
    session.send(idle).value()
    draining = {"state": LeaseState.DRAINING, "deadline": time.time() + 3600, "reason": "too old"}
    change(worker, idle, **draining)
    released = session.released()
    assert b"too old" in released.body
    attempt = session.send(busy)
    attempt.until(b"\n")
    change(worker, busy, **{**draining, "deadline": time.time()})
    error = attempt.report().error
    assert error is not None and error.kind == "WorkerLost" and "wanted back: too old" in error.message
    assert session.released().offset == 2
    attempt.wait_for_end()
    for spec in (idle, busy):
        lease = worker.lease(spec)
        assert lease.state is LeaseState.CONDEMNED and lease.reason == "too old"
    assert len(google.deleted) == 2
    session.close()


def test_renewals_say_what_runs_and_for_how_long_jobs_have_run(
    timed: Callable[..., Worker], google: Google, tmp_path: Path
) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, abs, -1)
    session.send(spec).value()
    session.close()
    worker = timed(renew_s=0.05)
    session = Session(worker)
    second = worker.retake(worker.next(spec, wait, tmp_path / "go"))
    before_s = worker.lease(spec).busy_s
    attempt = session.send(second)
    attempt.until(b"\n")
    google.wait_for(lambda: worker.lease(spec).busy_s > before_s + 0.2)
    assert worker.lease(spec).job == f"ada/{second.job.job_id}/1"
    (tmp_path / "go").touch()
    attempt.report()
    session.close()


def test_a_lease_that_another_process_of_the_client_took_is_left_alone(
    timed: Callable[..., Worker], google: Google
) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, abs, -1)
    session.send(spec).value()
    worker.retake(spec)
    taken = worker.lease(spec)
    session.process.send_signal(signal.SIGTERM)
    session.process.wait(30)
    assert worker.lease(spec) == taken and google.deleted == []


def test_an_attempt_waits_for_the_one_that_is_still_recording_its_end(worker: Worker) -> None:
    root = worker.home / ".launcher"
    root.mkdir(exist_ok=True)
    with open(root / "worker.lock", "a") as ending:
        fcntl.flock(ending, fcntl.LOCK_EX)
        session = Session(worker)
        attempt = session.send(kept(worker, abs, -1))
        while not attempt.folder.exists():
            select.select([], [], [], 0.01)
    assert attempt.value() == 1
    session.close()


def test_while_a_release_is_not_confirmed_nothing_runs(timed: Callable[..., Worker], google: Google) -> None:
    worker = timed(session_hold_s=0.0)
    session = Session(worker)
    spec = kept(worker, abs, -1)
    google.fail(lambda method, path: method == "GET" and worker.lease(spec).writer == "worker" and "/lea" in path, 503)
    session.send(spec).value()
    assert b"not confirmed" in session.released().body
    session.send(worker.next(spec, abs, -2))
    assert session.released().offset == 2
    session.close()
    assert worker.lease(spec).state is LeaseState.WARM


def test_requests_of_a_newer_client_are_understood_and_damaged_ones_end_nothing(
    timed: Callable[..., Worker],
) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, abs, -1)
    send(session.process, b"{}")
    newer = {**json.loads(codec.encode(spec)), "of_tomorrow": {"a": 1}}
    newer["job"]["of_tomorrow"] = True
    send(session.process, json.dumps(newer).encode())
    (first, *rest) = _until_outcome(session)
    assert first == frames.ERROR and rest[-1] == frames.OUTCOME
    session.close()


def _until_outcome(session: Session) -> list[bytes]:
    assert session.process.stdout is not None
    kinds = []
    while frames.OUTCOME not in kinds:
        data = os.read(session.process.stdout.fileno(), 65536)
        assert data
        kinds += [frame.kind for frame in session.decoder.feed(data)]
    return kinds


def test_a_second_session_follows_an_attempt_that_was_started_before(
    timed: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = timed()
    spec = kept(worker, wait, tmp_path / "go")
    lost, session = Session(worker), Session(worker)
    first = lost.send(spec)
    first.until(b"\n")
    lost.process.kill()
    lost.process.wait()
    second = session.send(spec)
    second.until(b"\n")
    (tmp_path / "go").touch()
    assert second.value() == 42 and second.log == first.log
    assert session.released().offset == 1
    second.wait_for_end()
    assert worker.lease(spec).state is LeaseState.WARM
    session.close()


def test_a_relative_python_path_of_the_job_leads_into_the_project(worker: Worker) -> None:
    def use() -> str:
        import inside

        return str(inside.WORD)

    files = {"src/inside.py": "WORD = 'found'\n"}
    assert worker.call(use, files=files, env={"PYTHONPATH": "src"}).value() == "found"


def test_leases_as_the_worker_writes_them_can_be_read_by_all(timed: Callable[..., Worker]) -> None:
    worker = timed()
    session = Session(worker)
    spec = kept(worker, abs, -1)
    before = worker.lease(spec)
    session.send(spec).value()
    session.close()
    same = {"state": before.state, "holder": HOLDER, "writer": "client", "busy_s": 0.0, "token": before.token}
    assert dataclasses.replace(worker.lease(spec), **same) == before
    assert isinstance(before, Lease)
