"""A worker for tests: a home folder with the real agent in it, started as a client starts it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import uv

import launcher
from launcher.records import codec, frames, leases, paths, signing
from launcher.records.jobs import Blob, JobRecord, JobStatus, Outcome, Report, WorkerStatus
from launcher.records.spec import Spec
from tests.agent.google import Google

ZONE = "us-central1-a"
QUICK = {
    "grace_s": 0.3,
    "stray_grace_s": 0.2,
    "exit_bound_s": 0.3,
    "cancel_poll_s": 0.05,
    "client_grace_s": 0.0,
    "renew_s": 0.2,
    "metadata_patience_s": 1.0,
    "hand_over_s": 0.5,
}
HOLDER = "ada@laptop:4711-9f3c2a10"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def agent_archive(path: Path, **timing: float) -> Path:
    """The agent as it travels, with waiting times for tests: short ones, and those in `timing`."""
    settings = ", ".join(f"{name}={seconds}" for name, seconds in {**QUICK, **timing}.items())
    package = Path(launcher.__file__).parent
    files = [package / name for name in ("__init__.py", "errors.py", "worker_context.py")]
    files += [*(package / "records").glob("*.py"), *(package / "agent").glob("*.py")]
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(package.parent))
        archive.writestr(
            "__main__.py",
            "import sys\nfrom launcher.agent.main import main\nfrom launcher.agent.control import Timing\n"
            f"sys.exit(main(sys.argv[1:], Timing({settings})))\n",
        )
    return path


def lock_file(folder: Path, *packages: str) -> bytes:
    """A lock, with hashes, of what the runner itself needs and of `packages`."""
    (folder / "in.txt").write_text("\n".join([f"cloudpickle=={cloudpickle.__version__}", *packages]))
    command = [uv.find_uv_bin(), "pip", "compile", "--generate-hashes", "--no-header", "--system-certs", "--quiet"]
    done = subprocess.run([*command, "in.txt"], cwd=folder, check=True, capture_output=True)
    return done.stdout


def archive_of(files: dict[str, str]) -> bytes:
    """A project archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclasses.dataclass
class Attempt:
    """One started attempt, as its client sees it: a session's only one, unless it is one of a Session."""

    worker: Worker
    spec: Spec
    process: subprocess.Popen[bytes]
    log: bytes = b""
    phases: list[WorkerStatus] = dataclasses.field(default_factory=list)
    outcome: Outcome | None = None
    error: str = ""
    decoder: frames.Decoder = dataclasses.field(default_factory=frames.Decoder)
    kinds: list[bytes] = dataclasses.field(default_factory=list)
    of_many: bool = False  # the session goes on after it
    released: list[frames.Frame] = dataclasses.field(default_factory=list)

    @property
    def names(self) -> paths.JobPaths:
        return paths.JobPaths(self.spec.job.owner, self.spec.job.job_id)

    @property
    def folder(self) -> Path:
        return self.worker.home / ".launcher" / "jobs" / self.spec.job.job_id / str(self.spec.attempt)

    def frames(self) -> Iterator[frames.Frame]:
        """Frames as they come; what they say is kept."""
        assert self.process.stdout is not None
        data = b""  # an earlier loop may have left some behind
        while True:
            for frame in self.decoder.feed(data):
                self.kinds.append(frame.kind)
                if frame.kind == frames.LOG:
                    self.log += frame.body
                elif frame.kind == frames.PHASE:
                    self.phases.append(codec.decode(WorkerStatus, frame.body))
                elif frame.kind == frames.OUTCOME:
                    self.outcome = codec.decode(Outcome, frame.body)
                elif frame.kind == frames.ERROR:
                    self.error = frame.body.decode()
                elif frame.kind == frames.RELEASED:
                    self.released.append(frame)
                yield frame
                if frame.kind in (frames.OUTCOME, frames.ERROR):
                    if self.of_many:
                        return
                    self.close_stdin()
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                break
        stderr = self.process.communicate()[1]
        assert self.process.returncode == 0, stderr

    def close_stdin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None

    def until(self, text: bytes) -> None:
        """Reads frames until the log holds `text`."""
        for _ in self.frames():
            if text in self.log:
                return
        raise AssertionError(f"{text!r} never came: {self.log!r}, {self.error}")

    def report(self) -> Report:
        """The report of the attempt's end, its signature checked."""
        for _ in self.frames():
            pass
        assert self.outcome is not None, self.error
        assert signing.verify(self.spec.key, self.outcome.report, self.outcome.signature)
        return codec.decode(Report, self.outcome.report)

    def value(self) -> Any:
        """The value, from the bucket."""
        report = self.report()
        assert report.status is JobStatus.SUCCEEDED, report
        return self.pickled(report)

    def pickled(self, report: Report) -> Any:
        data = self.worker.google.get(self.names.result(self.spec.attempt))
        assert hashlib.sha256(data).hexdigest() == report.sha256 and len(data) == report.size
        return pickle.loads(data)

    def hang_up(self) -> None:
        """The client's connection is gone."""
        self.process.kill()
        self.process.communicate()

    def wait_for_end(self) -> None:
        """Until the supervisor's process has ended."""
        with open(self.folder / "supervisor.lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)


class Session:
    """A client's session: attempts one after another on one connection."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.process = worker.agent_process("session")
        self.decoder = frames.Decoder()
        worker.sessions.append(self)

    def send(self, spec: Spec) -> Attempt:
        attempt = Attempt(self.worker, spec, self.process, decoder=self.decoder, of_many=True)
        self.worker.attempts.append(attempt)
        send(self.process, codec.encode(spec))
        return attempt

    def released(self) -> frames.Frame:
        """The next frame, which says that the session has no lease."""
        assert self.process.stdout is not None
        data = b""
        while True:
            for frame in self.decoder.feed(data):
                if frame.kind != frames.HEARTBEAT:
                    assert frame.kind == frames.RELEASED
                    return frame
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the session ended"

    def close(self) -> None:
        """The client goes; returns when the session has ended."""
        _, stderr = self.process.communicate(timeout=30)
        assert self.process.returncode == 0 and stderr == b"", stderr


@dataclasses.dataclass
class Worker:
    """A worker with its bucket."""

    home: Path
    google: Google
    agent: Path
    uv: Blob
    lock: Blob
    environment: dict[str, str]
    python: str = sys.executable  # what `python3` is on this machine
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    sessions: list[Session] = dataclasses.field(default_factory=list)

    def upload(self, data: bytes) -> Blob:
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        self.google.put(paths.blob("ada", blob.sha256), data)
        return blob

    def spec(self, function: Any, *args: Any, files: dict[str, str] | None = None, **changes: Any) -> Spec:
        """A job that calls `function`; `changes` are of the job, and of the spec where only that has such a field."""
        payload = cloudpickle.dumps((function, args, {}), protocol=5)
        of_spec = {f.name for f in dataclasses.fields(Spec)} & changes.keys()
        extra = {name: changes.pop(name) for name in of_spec}
        job = JobRecord(
            job_id=paths.new_job_id(),
            owner="ada",
            platform="t",
            name="job",
            created=0.0,
            accelerator="v5litepod-1",
            chips=1,
            hosts=1,
            zones=(ZONE,),
            runtime_version="v2",
            python=PYTHON,
            payload=self.upload(payload),
            agent=Blob("0" * 64, 0),
            uv=self.uv,
            lock_cpu=self.lock,
            lock_tpu=self.lock,
            archive=None if files is None else self.upload(archive_of(files)),
        )
        job = dataclasses.replace(job, **changes)
        return dataclasses.replace(self._spec_of(job), **extra)

    def next(self, spec: Spec, function: Any, *args: Any, **changes: Any) -> Spec:
        """Another job on the node of `spec`, by the same session."""
        other = self.spec(function, *args, **{"keep_warm_s": spec.job.keep_warm_s, **changes})
        return dataclasses.replace(other, queued_resource=spec.queued_resource, lease_token="")

    def retake(self, spec: Spec) -> Spec:
        """`spec` with the lease of its node, taken by the client once more."""
        lease = self.lease(spec).hold(HOLDER, "client")
        self.google.put(paths.lease(ZONE, spec.queued_resource), codec.encode(lease))
        return dataclasses.replace(spec, lease_token=lease.token)

    def _spec_of(self, job: JobRecord) -> Spec:
        lease = leases.reserve(
            resource=paths.queued_resource_id("t", job.job_id, 1),
            zone=ZONE,
            platform="t",
            owner="ada",
            holder=HOLDER,
            accelerator=job.accelerator,
            spot=False,
        ).hold(HOLDER, "client")
        self.google.put(paths.lease(ZONE, lease.resource), codec.encode(lease))
        return Spec(
            job=job,
            attempt=1,
            zone=ZONE,
            queued_resource=lease.resource,
            project="p",
            bucket="jobs",
            storage_endpoint=self.google.url,
            tpu_endpoint=self.google.url,
            lease_token=lease.token,
            key=signing.new_key(),
            holder=HOLDER,
        )

    def start(self, spec: Spec) -> Attempt:
        attempt = Attempt(self, spec, self.agent_process("session"))
        with contextlib.suppress(BrokenPipeError):
            send(attempt.process, codec.encode(spec))
        self.attempts.append(attempt)
        return attempt

    def call(self, function: Any, *args: Any, **changes: Any) -> Attempt:
        return self.start(self.spec(function, *args, **changes))

    def follow(self, spec: Spec, offset: int = 0) -> Attempt:
        process = self.agent_process("follow", spec.job.job_id, str(spec.attempt), str(offset))
        attempt = Attempt(self, spec, process)
        attempt.close_stdin()
        return attempt

    def stop(self, spec: Spec, reason: str) -> None:
        process = self.agent_process("stop", spec.job.job_id, str(spec.attempt), reason)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 0, stderr

    def agent_process(self, *argv: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        command = [self.python, "-I", str(self.agent), *argv]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment)

    def lease(self, spec: Spec) -> leases.Lease:
        return codec.decode(leases.Lease, self.google.get(paths.lease(ZONE, spec.queued_resource)))

    def end(self) -> None:
        """Ends every attempt that this test started."""
        for attempt in self.attempts:
            if attempt.process.poll() is None:
                self.stop(attempt.spec, "end of the test")
                attempt.hang_up()
            if attempt.process.stdout is not None:
                attempt.process.stdout.close()
            if attempt.process.stderr is not None:
                attempt.process.stderr.close()
            if (attempt.folder / "supervisor.lock").exists():
                attempt.wait_for_end()
        for session in self.sessions:
            session.process.kill()
            session.process.wait()
            for pipe in (session.process.stdin, session.process.stdout, session.process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def send(process: subprocess.Popen[bytes], request: bytes) -> None:
    """One request of a session."""
    assert process.stdin is not None
    process.stdin.write(len(request).to_bytes(8, "big") + request)
    process.stdin.flush()


def running(pid: int) -> bool:
    """Whether the process is there and has not ended (one that nobody waited for stays in the list)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it can go between open and read
        return False
    return stat[stat.rindex(b")") + 2 :][:1] != b"Z"


def uv_blob() -> bytes:
    return gzip.compress(Path(uv.find_uv_bin()).read_bytes(), compresslevel=1)
