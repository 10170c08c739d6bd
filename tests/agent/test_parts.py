from __future__ import annotations

import ast
import contextlib
import dataclasses
import os
import sys
import threading
import time
from pathlib import Path

import pytest

import launcher
from launcher import worker_context
from launcher.agent import chips, execution, front, home, link
from launcher.agent.bucket import Bucket
from launcher.agent.control import Attempt, AttemptFailed, StopRequest, Timing
from launcher.agent.front import Output, relay
from launcher.agent.holding import Holding
from launcher.agent.home import AttemptFolder
from launcher.agent.lease import LeaseKeeper
from launcher.agent.rest import Metadata, Rest, Unreachable
from launcher.records import codec, frames, paths
from launcher.records.leases import Lease, LeaseState
from launcher.records.spec import Spec
from launcher.records.swap import Stored
from tests.agent.worker import Worker

PACKAGE = Path(launcher.__file__).parent


def test_the_agent_imports_the_standard_library_and_records_only_in_the_syntax_of_python_3_10() -> None:
    for file in [*(PACKAGE / "agent").glob("*.py"), *(PACKAGE / "records").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(), feature_version=(3, 10))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top, _, rest = name.partition(".")
                ours = top == "launcher" and rest.split(".")[0] in ("agent", "records", "worker_context")
                in_the_jobs_environment = file.name == "values.py" and name == "cloudpickle"
                assert top in sys.stdlib_module_names or ours or in_the_jobs_environment, (file, name)


def test_heartbeats_tell_that_a_silent_job_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HEARTBEAT_S", 0.0)
    folder = AttemptFolder(tmp_path)
    alive = home.lock(folder.alive_lock)
    assert alive is not None
    reader, writer = os.pipe()

    def client() -> None:
        with contextlib.suppress(front.Hangup):
            relay(folder, 0, Output(writer))

    thread = threading.Thread(target=client)
    thread.start()
    decoder = frames.Decoder()
    while not any(frame.kind == frames.HEARTBEAT for frame in decoder.feed(os.read(reader, 65536))):
        pass
    assert folder.client_connected()
    os.close(reader)
    thread.join(30)
    assert not thread.is_alive() and not folder.client_connected()
    os.close(writer)
    os.close(alive)


def test_a_stop_in_a_supervisors_first_moments_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = home.Home().attempt("20260101-000000000-aaaaaa", 1)
    home.folder(folder.path)
    folder.started.touch()
    os.mkfifo(folder.control)
    alive = home.lock(folder.alive_lock)
    assert alive is not None
    thread = threading.Thread(target=front.stop, args=("20260101-000000000-aaaaaa", 1, "enough"))
    thread.start()
    thread.join(0.1)  # it finds nobody who reads
    with open(folder.control, "rb", buffering=0) as control:
        assert control.readline() == b"enough\n"
    folder.ended.touch()
    thread.join(30)
    os.close(alive)
    assert not thread.is_alive()


def test_a_signal_is_called_out_of_memory_only_with_evidence() -> None:
    assert "ran out of memory" in execution.explain(-9, oom_killed=True).message
    assert "SIGKILL" in execution.explain(-9, oom_killed=False).message
    assert "SIGTERM" in execution.explain(-15, oom_killed=True).message
    assert execution.explain(7, oom_killed=True).exit_code == 7


def test_kills_of_the_kernel_are_counted_on_the_machine_and_in_the_cgroup(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "user.slice" / "job").mkdir(parents=True)
    assert execution.oom_kills(proc, cgroups) == 0
    (proc / "vmstat").write_text("pgpgin 7\noom_kill 2\n")
    (proc / "self" / "cgroup").write_text("0::/user.slice/job\n")
    (cgroups / "user.slice" / "job" / "memory.events").write_text("oom 5\noom_kill 1\n")
    assert execution.oom_kills(proc, cgroups) == 3


@pytest.mark.parametrize("device, present", [("accel0", True), ("vfio/0", True), ("vfio/vfio", False), ("null", False)])
def test_chips_are_seen_by_their_devices(tmp_path: Path, device: str, present: bool) -> None:
    (tmp_path / device).parent.mkdir(exist_ok=True)
    (tmp_path / device).touch()
    assert bool(chips.devices(tmp_path)) is present


def test_the_context_outside_a_job_has_the_same_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_CONTEXT", raising=False)
    here = launcher.context()
    assert not worker_context.on_worker() and (here.worker, here.num_workers, here.job_id) == (0, 1, "local")
    monkeypatch.setenv(
        "LAUNCHER_CONTEXT",
        '{"job_id": "j", "attempt": 2, "worker": 1, "num_workers": 4, "slice": 0,'
        ' "num_slices": 1, "checkpoint_dir": "gs://b/c", "output_dir": "gs://b/o", "newer": 1}',
    )
    assert worker_context.on_worker()
    assert launcher.context() == dataclasses.replace(
        here, job_id="j", attempt=2, worker=1, num_workers=4, checkpoint_dir="gs://b/c", output_dir="gs://b/o"
    )


class Records:
    """One lease in memory. Nothing answers once it was read `answers` times; before, `drain` may have been set."""

    def __init__(self, lease: Lease) -> None:
        self.data, self.generation = codec.encode(lease), 1
        self.written = self.now = time.monotonic()
        self.answers, self.drain_s = sys.maxsize, 0.0

    @property
    def lease(self) -> Lease:
        return codec.decode(Lease, self.data)

    def read(self, name: str) -> Stored:
        if self.answers == 0:
            raise Unreachable("down")
        self.answers -= 1
        if self.drain_s and self.lease.state is LeaseState.HELD and self.lease.writer == "worker":
            self.data = codec.encode(self.lease.drain(time.monotonic() + self.drain_s, "freeze"))
            self.generation += 1
        return Stored(self.data, self.generation, self.written, time.monotonic())

    read_dated = read

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        if generation != self.generation:
            return None
        self.data, self.generation, self.written = data, generation + 1, time.monotonic()
        return self.generation


def keep(records: Records, spec: Spec, holding: Holding | None = None) -> tuple[StopRequest, LeaseKeeper]:
    """Keeps a lease until the job has to stop."""
    stop, timing = StopRequest(), Timing(renew_s=0.01, stop_margin_s=0.5, grace_s=0.1)
    attempt = Attempt(spec, None, None, timing, stop, holding)  # type: ignore[arg-type]
    keeper = LeaseKeeper(attempt, records)  # type: ignore[arg-type]
    keeper.begin(records)  # type: ignore[arg-type]
    assert stop.event.wait(30)
    return stop, keeper


def test_without_renewals_the_job_stops_before_its_lease_can_have_ended(worker: Worker) -> None:
    spec = worker.spec(print)
    records = Records(dataclasses.replace(worker.lease(spec), ttl_s=0.7))
    records.answers = 3
    stop, keeper = keep(records, spec)
    assert time.monotonic() >= keeper.stop_at()
    assert stop.kind == "WorkerLost" and "could not be renewed" in stop.message
    assert records.lease.state is LeaseState.HELD and records.lease.writer == "worker" and records.answers == 0
    assert keeper.stop_at() <= records.written + 0.7 - 0.5


def test_a_sessions_lease_is_renewed_at_once_where_it_was_confirmed_long_ago(worker: Worker) -> None:
    spec = worker.spec(print)
    records = Records(dataclasses.replace(worker.lease(spec), writer="worker"))
    confirmed = time.monotonic() - 200.0  # of 300 s
    records.drain_s = 0.2
    stop, _ = keep(records, spec, Holding((records.lease.token,), confirmed, 300.0, busy_s=7.0))
    assert records.lease.state is LeaseState.DRAINING and records.lease.busy_s >= 7.0 and stop.kind == "WorkerLost"


def test_a_sessions_lease_that_was_confirmed_too_long_ago_stops_the_job(worker: Worker) -> None:
    spec = worker.spec(print)
    records = Records(worker.lease(spec))
    records.answers = 0
    stop, keeper = keep(records, spec, Holding((spec.lease_token,), time.monotonic() - 299.6, 300.0))
    assert stop.kind == "WorkerLost" and keeper.close() == keeper.lease.holding


@pytest.mark.parametrize("fate", ["silence", "draining", "another holder", "gone"])
def test_workers_that_do_not_lead_watch_the_lease_and_write_nothing(worker: Worker, fate: str) -> None:
    spec = dataclasses.replace(worker.spec(print), worker=1, lease_token="")
    records = Records(dataclasses.replace(worker.lease(spec), writer="worker", ttl_s=0.9))
    before = records.lease
    words = "could not be renewed"
    if fate == "draining":
        records.drain_s, words = 0.2, "wanted back: freeze"
    elif fate != "silence":
        reads = iter([True, True])
        read = records.read

        def lose(name: str) -> Stored | None:
            if next(reads, False):
                return read(name)
            records.data = codec.encode(dataclasses.replace(before, holder="bob@there:1-00000000"))
            return read(name) if fate == "another holder" else None

        records.read_dated = lose  # type: ignore[method-assign]
        words = "HELD by bob@there" if fate == "another holder" else "has no lease"
    stop, keeper = keep(records, spec)
    assert stop.kind == "WorkerLost" and words in stop.message
    assert records.generation == (2 if fate == "draining" else 1)
    assert keeper.close() is None
    if fate == "silence":  # however often it is read: nobody has renewed it
        assert keeper.stop_at() == pytest.approx(records.written + 0.9 - 0.5, abs=0.01)


def test_the_true_age_of_a_lease_is_read(worker: Worker) -> None:
    spec = worker.spec(print)
    name = paths.lease(spec.zone, spec.queued_resource)
    rest = Rest(Metadata(1.0), 0.0)
    rest.metadata._root = f"{worker.google.url}/computeMetadata/v1/instance/"
    bucket = Bucket(rest, worker.google.url, "jobs")
    worker.google.objects[name].updated -= 100.0
    stored = bucket.read_dated(name)
    assert stored is not None and stored.data == worker.google.get(name)
    assert stored.now - stored.updated == pytest.approx(100.0, abs=30.0)
    assert bucket.read_dated("leases/none") is None


def test_what_a_supervisor_offers_is_taken_or_withdrawn_but_never_both() -> None:
    front_end, supervisor = link.pair()
    assert front_end.accept() and supervisor.accepted(30.0)
    front_end.close()
    assert not supervisor.alive()
    supervisor.close()
    front_end, supervisor = link.pair()
    supervisor.ring()
    assert supervisor.alive() and not supervisor.accepted(0.0)
    assert not front_end.accept() and front_end.drain()
    supervisor.close()
    assert not front_end.drain()
    front_end.close()
    front_end, supervisor = link.pair()
    front_end.close()
    assert not supervisor.accepted(30.0)
    supervisor.close()


def test_a_request_that_hangs_does_not_delay_the_stop(worker: Worker) -> None:
    spec = worker.spec(print)
    records = Records(dataclasses.replace(worker.lease(spec), ttl_s=0.7))
    answer = threading.Event()
    read = records.read

    def hang(name: str) -> Stored:
        if records.lease.writer == "worker":
            answer.wait()
        return read(name)

    records.read = hang  # type: ignore[method-assign]
    stop, _ = keep(records, spec)
    assert stop.kind == "WorkerLost"
    answer.set()


def test_a_draining_lease_stops_the_job_before_its_deadline(worker: Worker) -> None:
    spec = worker.spec(print)
    records = Records(worker.lease(spec))
    records.drain_s = 0.2
    stop, keeper = keep(records, spec)
    assert stop.kind == "WorkerLost" and "freeze" in stop.message
    assert records.lease.state is LeaseState.DRAINING and keeper.stop_at() <= records.lease.deadline - 0.1


def test_a_stale_lock_file_of_libtpu_is_removed_and_a_live_holder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chips, "_BUSY_S", 0.0)
    lock_file = tmp_path / "libtpu_lockfile"
    with open(lock_file, "w"), pytest.raises(AttemptFailed, match=f"in use by process {os.getpid()} .*kill"):
        chips.free([tmp_path / "accel0"], StopRequest(), lock_file)
    assert lock_file.exists()
    chips.free([tmp_path / "accel0"], StopRequest(), lock_file)
    assert not lock_file.exists()
