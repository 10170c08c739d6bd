"""The command line in this process against the session's simulator, and jobs written straight into its bucket."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest

from launcher import cli
from launcher.cloud.seams import NodeSpec
from launcher.cloud.storage import crc32c_of
from launcher.config import load_profile
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.release import delete
from launcher.records import codec, signing
from launcher.records.jobs import Blob, ErrorInfo, Intent, JobRecord, JobStatus, Outcome, Report, WorkerStatus
from launcher.records.leases import Lease, reserve
from launcher.records.paths import JobPaths, holder_id, new_job_id, node_id, queued_resource_id
from launcher.submission import _write_key

NOTHING = Blob("0" * 64, 0)
ZONE = "us-central1-a"


@dataclasses.dataclass
class Ran:
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command line in this process; `env` is set first."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> Ran:
        for name, value in (env or {}).items():
            if name.startswith("LAUNCHER_"):
                monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


class World:
    """One person's jobs and nodes on a simulator, without any of them having run."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.owner = platform.profile.owner
        self.keys: dict[str, str] = {}  # by job id
        self.made: list[tuple[str, str]] = []

    def job(self, *, owner: str = "", key: bool = True, **changes: Any) -> JobRecord:
        record = JobRecord(
            **{
                "job_id": new_job_id(),
                "owner": owner or self.owner,
                "platform": self.platform.profile.platform,
                "name": "train",
                "created": time.time(),
                "accelerator": "v5litepod-1",
                "chips": 1,
                "hosts": 1,
                "zones": (ZONE,),
                "runtime_version": "v2-alpha-tpuv5-lite",
                "python": "3.11",
                **dict.fromkeys(["payload", "agent", "uv", "lock_cpu", "lock_tpu"], NOTHING),
                "simulated": True,
                **changes,
            }
        )
        self.put(JobPaths(record.owner, record.job_id).job, codec.encode(record))
        self.keys[record.job_id] = signing.new_key()
        if key:
            _write_key(record.job_id, self.keys[record.job_id])
        return record

    def put(self, name: str, data: bytes) -> None:
        assert self.platform.store.create(name, data) is not None

    def attempt(self, job: JobRecord, phase: str = "running") -> Intent:
        """intent.json and the worker's status, with no node behind them."""
        intent = self._intent(job)
        status = WorkerStatus(1, 0, phase, time.time())
        self.put(JobPaths(job.owner, job.job_id).worker(1, 0, 0), codec.encode(status))
        return intent

    def _intent(self, job: JobRecord, holder: str = "") -> Intent:
        resource = queued_resource_id(job.platform, job.job_id, 1)
        node = node_id(resource)
        intent = Intent(job.job_id, 1, job.zones[0], resource, node, "first attempt", time.time(), holder=holder)
        self.put(JobPaths(job.owner, job.job_id).intent(1), codec.encode(intent))
        return intent

    def log(self, job: JobRecord, data: bytes, offset: int = 0) -> None:
        self.put(JobPaths(job.owner, job.job_id).log_chunk(1, 0, 0, offset), data)

    def node(self, job: JobRecord, *, lease: bool = True, holder: str = "") -> Intent:
        """A READY node of the job; its lease is HELD by a session of the job's owner."""
        holder = holder or holder_id(job.owner, "laptop", 4711)
        intent = self._intent(job, holder)
        labels = {"launcher-platform": job.platform, "launcher-owner": job.owner}
        name = intent.queued_resource
        spec = NodeSpec(name, intent.node, job.accelerator, job.runtime_version, labels, {}, spot=job.spot)
        if lease:
            reserved = reserve(
                resource=name,
                zone=intent.zone,
                platform=job.platform,
                owner=job.owner,
                holder=holder,
                accelerator=job.accelerator,
                spot=job.spot,
                job=f"{job.owner}/{job.job_id}/1",
                runtime_version=job.runtime_version,
                usd_per_hour=job.usd_per_hour,
            )
            lease_book.create(self.platform.store, reserved.hold(reserved.holder, "worker"))
        self.ask_for(intent.zone, spec)
        poll = Poll(self.platform.clock, timeout_s=60.0)
        while (node := self.platform.nodes.get_node(intent.zone, intent.node)) is None or node.state != "READY":
            assert not poll.expired
            poll.pause()
        return intent

    def ask_for(self, zone: str, spec: NodeSpec) -> None:
        """A queued resource of any shape, deleted when the test ends."""
        self.platform.nodes.create_queued_resource(zone, spec)
        self.made.append((zone, spec.queued_resource))

    def lease(self, intent: Intent) -> Lease:
        found = lease_book.read(self.platform.store, intent.zone, intent.queued_resource)
        assert found is not None
        return found[0]

    def exists(self, intent: Intent) -> bool:
        return self.platform.nodes.get_queued_resource(intent.zone, intent.queued_resource) is not None

    def succeed(self, job: JobRecord, value: object) -> None:
        self._end(job, JobStatus.SUCCEEDED, cloudpickle.dumps(value, protocol=5), None)

    def fail(self, job: JobRecord, exc: BaseException, traceback: str) -> None:
        info = ErrorInfo("exception", str(exc), type(exc).__qualname__, traceback, base=type(exc).__name__)
        self._end(job, JobStatus.FAILED, cloudpickle.dumps(exc, protocol=5), info)

    def end(self, job: JobRecord, status: JobStatus, error: ErrorInfo) -> None:
        self._end(job, status, None, error)

    def _end(self, job: JobRecord, status: JobStatus, data: bytes | None, error: ErrorInfo | None) -> None:
        paths = JobPaths(job.owner, job.job_id)
        if data is not None:
            self.platform.store.upload(paths.result(1), io.BytesIO(data), len(data), crc32c_of(data))
        digest = "" if data is None else hashlib.sha256(data).hexdigest()
        report = Report(job.job_id, 1, 0, status, digest, len(data or b""), error, time.time())
        text = codec.encode(report).decode()
        signature = signing.sign(self.keys[job.job_id], text)
        self.put(paths.outcome, codec.encode(Outcome(job.job_id, status, text, signature, "worker")))

    def clean_up(self) -> None:
        for zone, name in self.made:
            delete(self.platform, zone, name, timeout_s=30.0)


@pytest.fixture
def world(simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The session's simulator, which this process then uses too. Nodes made through it are deleted."""
    for name, value in simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    world = World(Platform(load_profile()))
    yield world
    world.clean_up()
