from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from launcher.records import codec, frames, paths
from launcher.records.jobs import Cancel, JobStatus, Outcome
from launcher.records.leases import LeaseState
from tests.agent.google import Google
from tests.agent.worker import Worker, running


def by_value() -> object:
    def wait(path: Path) -> int:
        print("pid", os.getpid(), flush=True)
        while not path.exists():
            time.sleep(0.01)
        print("went on", flush=True)
        return 42

    return wait


def pid_in(log: bytes) -> int:
    return int(log.split(b"\n")[0].split()[1])


def test_a_dropped_connection_resumes_at_the_byte(worker: Worker, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "go")
    attempt.until(b"\n")
    attempt.hang_up()
    again = worker.follow(attempt.spec, len(attempt.log))
    worker.attempts.append(again)
    (tmp_path / "go").touch()
    assert again.value() == 42
    assert again.log == b"went on\n"
    whole = worker.follow(attempt.spec)
    assert whole.value() == 42 and whole.log == attempt.log + again.log
    whole.process.communicate()


def test_without_a_client_the_job_ends_and_the_node_is_let_go(worker: Worker, google: Google, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "go")
    attempt.until(b"\n")
    attempt.hang_up()
    (tmp_path / "go").touch()
    attempt.wait_for_end()
    outcome = codec.decode(Outcome, google.get(attempt.names.outcome))
    assert outcome.status is JobStatus.SUCCEEDED
    lease = worker.lease(attempt.spec)
    assert lease.state is LeaseState.CONDEMNED and "nobody was connected" in lease.reason
    assert attempt.spec.queued_resource in google.deleted[0]


def test_starting_twice_runs_once(worker: Worker, tmp_path: Path) -> None:
    def count(path: Path) -> int:
        with open(path, "a") as file:
            file.write("ran\n")
        return 1

    attempt = worker.call(count, tmp_path / "count")
    second = worker.start(attempt.spec)
    assert attempt.value() == second.value() == 1
    third = worker.start(attempt.spec)
    assert third.value() == 1
    assert (tmp_path / "count").read_text() == "ran\n"


def test_a_second_job_on_a_busy_worker_is_refused_naming_the_first(worker: Worker, tmp_path: Path) -> None:
    first = worker.call(by_value(), tmp_path / "go")
    first.until(b"\n")
    second = worker.call(print)
    for _ in second.frames():
        pass
    assert first.spec.job.job_id in second.error and second.outcome is None
    (tmp_path / "go").touch()
    assert first.value() == 42


def test_the_timeout_holds_on_the_worker_also_against_deaf_processes(worker: Worker, google: Google) -> None:
    def deaf() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("pid", os.getpid(), flush=True)
        signal.pause()
        while True:
            signal.pause()

    attempt = worker.call(deaf, timeout_s=0.5)
    attempt.until(b"\n")
    attempt.hang_up()
    attempt.wait_for_end()
    assert not running(pid_in(attempt.log))
    outcome = codec.decode(Outcome, google.get(attempt.names.outcome))
    assert outcome.status is JobStatus.FAILED and '"kind":"TimedOut"' in outcome.report
    assert "timeout_s=0.5" in outcome.report


def test_stop_returns_when_the_processes_are_gone_and_the_job_is_cancelled(worker: Worker, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "never")
    attempt.until(b"\n")
    worker.stop(attempt.spec, "cancelled by ada")
    assert not running(pid_in(attempt.log))
    report = attempt.report()
    assert report.status is JobStatus.CANCELLED
    assert report.error is not None and report.error.message == "cancelled by ada"
    worker.stop(attempt.spec, "again")  # an attempt that is over is left alone


def test_a_cancel_record_is_noticed(worker: Worker, google: Google, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "never")
    attempt.until(b"\n")
    google.put(attempt.names.cancel, codec.encode(Cancel(attempt.spec.job.job_id, "ada", 0.0)))
    report = attempt.report()
    assert report.status is JobStatus.CANCELLED and report.error is not None and report.error.kind == "Cancelled"


def test_an_earlier_outcome_stands(worker: Worker, google: Google, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "go")
    attempt.until(b"\n")
    earlier = Outcome(attempt.spec.job.job_id, JobStatus.CANCELLED, "{}", writer="client")
    google.put(attempt.names.outcome, codec.encode(earlier))
    (tmp_path / "go").touch()
    for _ in attempt.frames():
        pass
    assert attempt.outcome == earlier


def test_a_condemned_lease_stops_the_job(worker: Worker, google: Google, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "never")
    attempt.until(b"\n")
    name = paths.lease(attempt.spec.zone, attempt.spec.queued_resource)
    condemned = dataclasses.replace(worker.lease(attempt.spec), state=LeaseState.CONDEMNED, reason="budget")
    with google.lock:
        google.put(name, codec.encode(condemned))
    report = attempt.report()
    assert not running(pid_in(attempt.log))
    assert report.error is not None and report.error.kind == "WorkerLost" and "budget" in report.error.message
    attempt.wait_for_end()
    assert attempt.spec.queued_resource in google.deleted[0]


def test_a_lease_of_somebody_else_is_not_touched(worker: Worker, google: Google) -> None:
    spec = dataclasses.replace(worker.spec(print, "ran"), lease_token="another")
    name = paths.lease(spec.zone, spec.queued_resource)
    other = dataclasses.replace(worker.lease(spec), holder="20260101-000000000-aaaaaa/1")
    google.put(name, codec.encode(other))
    attempt = worker.start(spec)
    report = attempt.report()
    assert report.error is not None and report.error.kind == "WorkerLost" and attempt.log == b""
    attempt.wait_for_end()
    assert worker.lease(spec) == other and google.deleted == []


def test_unknown_attempts_are_said(worker: Worker) -> None:
    following = worker.follow(worker.spec(print))
    for _ in following.frames():
        pass
    assert "no attempt 1" in following.error and following.kinds == [frames.ERROR]


@pytest.mark.parametrize("argv", [["follow", "../../etc", "1", "0"], ["session", "more"], [], ["stop", "x", "y", "z"]])
def test_bad_arguments_are_refused(worker: Worker, argv: list[str]) -> None:
    process = worker.agent_process(*argv)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode in (1, 2) and stderr.count(b"\n") == 1


def test_a_damaged_specification_is_said(worker: Worker) -> None:
    process = worker.agent_process("session")
    stdout, _ = process.communicate(len(b"{}").to_bytes(8, "big") + b"{}", timeout=30)
    (frame,) = frames.Decoder().feed(stdout)
    assert frame.kind == frames.ERROR and b"job" in frame.body


def test_a_dead_supervisor_takes_the_job_with_it_and_is_reported(worker: Worker, tmp_path: Path) -> None:
    attempt = worker.call(by_value(), tmp_path / "never")
    attempt.until(b"\n")
    os.kill(attempt.phases[-1].pid, signal.SIGKILL)
    for _ in attempt.frames():
        pass
    assert attempt.outcome is None and "supervisor" in attempt.error
    worker.stop(attempt.spec, "tidy up")
    assert not running(pid_in(attempt.log))
    again = worker.start(attempt.spec)
    for _ in again.frames():
        pass
    assert "supervisor" in again.error and again.outcome is None
