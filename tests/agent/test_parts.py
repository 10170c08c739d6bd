from __future__ import annotations

import ast
import dataclasses
import os
import sys
import threading
from pathlib import Path

import pytest

import launcher
from launcher import worker_context
from launcher.agent import chips, diagnosis, home
from launcher.agent.failures import AttemptFailed, StopRequest
from launcher.agent.front import Output, relay
from launcher.agent.home import AttemptFolder
from launcher.agent.lease import LeaseKeeper
from launcher.agent.rest import Unreachable
from launcher.agent.timing import Clock, Timing
from launcher.records import codec, frames, leases
from launcher.records.leases import LeaseState
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
    thread = threading.Thread(target=lambda: relay(folder, 0, Output(writer)))
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


def test_a_signal_is_called_out_of_memory_only_with_evidence() -> None:
    assert "ran out of memory" in diagnosis.explain(-9, oom_killed=True).message
    assert "SIGKILL" in diagnosis.explain(-9, oom_killed=False).message
    assert "SIGTERM" in diagnosis.explain(-15, oom_killed=True).message
    assert diagnosis.explain(7, oom_killed=True).exit_code == 7


def test_kills_of_the_kernel_are_counted_on_the_machine_and_in_the_cgroup(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "user.slice" / "job").mkdir(parents=True)
    assert diagnosis.oom_kills(proc, cgroups) == 0
    (proc / "vmstat").write_text("pgpgin 7\noom_kill 2\n")
    (proc / "self" / "cgroup").write_text("0::/user.slice/job\n")
    (cgroups / "user.slice" / "job" / "memory.events").write_text("oom 5\noom_kill 1\n")
    assert diagnosis.oom_kills(proc, cgroups) == 3


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


class Steps(Clock):
    """Each wait takes exactly its time, and none in truth."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        self.now += max(seconds, 0.0)
        return event is not None and event.is_set()


class Records:
    """One lease in memory, with GCS's clock. From `down_from` on nothing answers; at `drain_from` it is drained."""

    def __init__(self, clock: Steps) -> None:
        self.data, self.generation, self.clock = b"", 1, clock
        self.down_from = self.drain_from = float("inf")
        self.updated = clock.now

    @property
    def lease(self) -> leases.Lease:
        return codec.decode(leases.Lease, self.data)

    def read(self, name: str) -> Stored:
        if self.clock.now >= self.down_from:
            raise Unreachable("down")
        if self.clock.now >= self.drain_from and self.lease.state is LeaseState.HELD:
            self.data = codec.encode(self.lease.drain(self.drain_from + 1000.0, "freeze"))
            self.generation += 1
        return Stored(self.data, self.generation, self.updated, self.clock.now)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        if generation != self.generation:
            return None
        self.data, self.generation, self.updated = data, generation + 1, self.clock.now
        return self.generation


def keep(worker: Worker, records: Records) -> StopRequest:
    """Keeps a lease, by its records' clock, until the job has to stop."""
    spec = worker.spec(print)
    records.data = codec.encode(worker.lease(spec))
    stop = StopRequest()
    keeper = LeaseKeeper(spec, records, stop, timing=Timing(), clock=records.clock)  # type: ignore[arg-type]
    keeper.take_over(records)  # type: ignore[arg-type]
    assert stop.event.wait(30)
    keeper.close()
    return stop


def test_without_renewals_the_job_stops_before_its_lease_can_have_ended(worker: Worker) -> None:
    records = Records(Steps())
    records.down_from = 1500.0
    stop = keep(worker, records)
    assert stop.kind == "WorkerLost" and "could not be renewed" in stop.message
    assert records.lease.state is LeaseState.HELD and records.lease.writer == "worker"
    ends = records.updated + leases.TTL_S
    assert ends - leases.STOP_MARGIN_S <= records.clock.now < ends


def test_a_draining_lease_stops_the_job_before_its_deadline(worker: Worker) -> None:
    records = Records(Steps())
    records.drain_from = 1500.0
    stop = keep(worker, records)
    assert stop.kind == "WorkerLost" and "freeze" in stop.message
    assert 2400.0 < records.clock.now <= 2500.0 and records.lease.state is LeaseState.DRAINING


def test_a_stale_lock_file_of_libtpu_is_removed_and_a_live_holder_named(tmp_path: Path) -> None:
    lock_file = tmp_path / "libtpu_lockfile"
    with open(lock_file, "w"), pytest.raises(AttemptFailed, match=f"in use by process {os.getpid()} .*kill"):
        chips.free([tmp_path / "accel0"], StopRequest(), Steps(), lock_file)
    assert lock_file.exists()
    chips.free([tmp_path / "accel0"], StopRequest(), Steps(), lock_file)
    assert not lock_file.exists()
