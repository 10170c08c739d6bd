"""One attempt on one worker, from its lease to its outcome. Its own process: no connection has to last for it."""

from __future__ import annotations

import dataclasses
import math
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launcher.agent import chips, clock, processes, unpack
from launcher.agent.bucket import Blobs, Bucket, sha256_of
from launcher.agent.control import AgentError, Attempt, AttemptFailed, Stopped
from launcher.agent.custody import UNUSABLE
from launcher.agent.environment import Installer
from launcher.agent.execution import Ending, Runner
from launcher.agent.holding import Handover
from launcher.agent.home import write_atomic
from launcher.agent.lease import LeaseKeeper
from launcher.agent.log import Log
from launcher.agent.rest import HttpError, Metadata, Rest, Unreachable
from launcher.agent.status import Phases
from launcher.records import codec, signing
from launcher.records.jobs import ErrorInfo, JobStatus, Outcome, Report
from launcher.records.leases import LeaseRefused
from launcher.records.paths import JobPaths
from launcher.records.swap import create_once

_SETUP_PATIENCE_S = 900.0  # a bucket that is down for longer fails the attempt
_LOST_PATIENCE_S = 60.0  # a worker that lost its lease because GCS is silent does not wait for GCS
_LEASE_TIMEOUT_S = 15.0  # well below the margin before a lease ends


class Supervisor:
    """Runs one attempt. To be used once, by the main thread of a process of its own."""

    def __init__(self, attempt: Attempt, free: Callable[[], None]) -> None:
        self._attempt = attempt
        self._free = free  # lets the worker's next attempt start
        self._spec, self._folder, self._stop = attempt.spec, attempt.folder, attempt.stop
        self._mark = secrets.token_hex(16)
        self._names = JobPaths(self._spec.job.owner, self._spec.job.job_id)
        self._metadata = Metadata(attempt.timing.metadata_patience_s)
        self._setup = self._bucket(Rest(self._metadata, _SETUP_PATIENCE_S, stop=self._stop))
        self._brief = self._bucket(Rest(self._metadata, 0.0, _LEASE_TIMEOUT_S))
        self._lasting = self._bucket(Rest(self._metadata, math.inf))  # an outage only delays it
        self._log = Log(self._folder.log, self._lasting, self._chunk_name, attempt.timing.spacing_s, attempt.ring)
        self._phases = Phases(attempt, self._brief, self._log)
        self._keeper = LeaseKeeper(attempt, self._brief)
        self._devices = chips.devices()
        self._runner = Runner(attempt, self._log, self._mark, chips=bool(self._devices))
        self._usable = False  # whether the node is worth keeping
        self._ran = False  # whether the user's code did
        self._offered = False  # whether the lease was offered to the front
        self._client_connected = False  # whether a client was there to hear the last word

    def _bucket(self, rest: Rest) -> Bucket:
        return Bucket(rest, self._spec.storage_endpoint, self._spec.bucket)

    def _chunk_name(self, offset: int) -> str:
        return self._names.log_chunk(self._spec.attempt, self._spec.slice_index, self._spec.worker, offset)

    def run(self) -> None:
        """To the outcome, in the bucket and in the folder; or to the reason why there is none, in the folder."""
        write_atomic(self._folder.mark, self._mark.encode())
        try:
            ending = self._execute()
            self._tell(self._folder.outcome, self._publish(ending))
        except (AgentError, HttpError) as exc:
            self._tell(self._folder.error, str(exc).encode())
        except Exception as exc:  # the top of the process: whoever follows must learn of it
            traceback.print_exc()
            self._tell(self._folder.error, f"the agent failed: {type(exc).__name__}: {exc}".encode())

    def _tell(self, path: Path, data: bytes) -> None:
        """The last word to the fronts. The worker is free by then, for the session's next attempt comes at once."""
        self._usable = self._ran and path == self._folder.outcome
        holding, link = self._keeper.close(), self._attempt.link
        if holding is not None and link is not None and link.alive():
            write_atomic(self._folder.lease, codec.encode(Handover(holding, self._usable)))
            self._offered = True
        self._client_connected = self._folder.client_connected()
        self._free()
        write_atomic(path, data)
        self._attempt.ring()

    def leave(self) -> None:
        """After `run`: passes the lease back to the front, or lets the node go."""
        attempt, timing = self._attempt, self._attempt.timing
        passed = self._offered and attempt.link is not None and attempt.link.accepted(timing.hand_over_s)
        self._phases.close()
        if passed or not attempt.leads:
            return
        reason = "the job ended and nobody was connected" if self._usable else UNUSABLE
        held = self._keeper.lease.holding
        spared = bool(self._spec.job.node) or (held is not None and held.external)  # no call deletes it
        warm = spared or (self._usable and self._spec.job.keep_warm_s > 0)
        if self._client_connected and not (warm or self._keeper.unkeepable):
            clock.sleep(timing.client_grace_s)
            reason = "the job ended and its client did not delete the node"
        try:
            self._keeper.lease.let_go(self._lasting, reason, warm=warm)
        except LeaseRefused as exc:
            print(f"the lease is not let go: {exc}", file=sys.stderr)
        except (AgentError, HttpError) as exc:
            # The node's timer and the reaper find it; here only the agent's log can tell.
            print(f"cannot let {self._spec.queued_resource} go: {exc}", file=sys.stderr)

    def _execute(self) -> Ending:
        """From the lease to the end of the last process of the job."""
        self._phases.enter("starting")
        try:
            with ThreadPoolExecutor(2) as pool:
                return self._set_up_and_run(pool)
        except AttemptFailed as exc:
            return Ending(error=ErrorInfo(exc.kind, str(exc)))
        except Stopped:
            return Ending()
        except (HttpError, Unreachable, OSError) as exc:
            return Ending(error=ErrorInfo("SetupError", f"the worker could not be set up: {exc}"))
        finally:
            gone = self._runner.all_ended
            gone = gone or processes.end_all(self._mark, grace_s=self._attempt.timing.stray_grace_s)
            self._folder.ended.write_text("" if gone else "some processes could not be ended")

    def _set_up_and_run(self, pool: ThreadPoolExecutor) -> Ending:
        """What needs the network and what needs this machine goes on side by side."""
        attempt = self._attempt
        blobs = Blobs(self._setup, self._spec.job.owner, attempt.home)
        installer = Installer(attempt, blobs, self._metadata, chips=bool(self._devices))
        self._folder.project.mkdir(mode=0o700)
        held = pool.submit(self._keeper.begin, self._setup)
        fetched = pool.submit(self._fetch, blobs)
        threading.Thread(target=self._watch_cancel, name="cancel", daemon=True).start()
        runner = self._runner
        if installer.ready and runner.may_start_early:
            runner.start(installer.python)
        held.result()
        if self._devices:
            chips.free(self._devices, self._stop)
        self._phases.enter("environment")
        installer.build()
        self._phases.enter("project")
        fetched.result()
        self._phases.enter("running")
        self._stop.check()
        self._ran = True
        ending = runner.run(installer.python)
        self._phases.exit_code = ending.exit_code
        return ending

    def _fetch(self, blobs: Blobs) -> None:
        job = self._spec.job
        blobs.fetch(job.payload, "payload (function and arguments)", self._folder.payload)
        if job.archive is None:
            return
        try:
            unpack.unpack(blobs.cached(job.archive, "project archive"), self._folder.project)
        except unpack.UnsafeArchive as exc:
            raise AttemptFailed("JobError", f"the project's archive is refused: {exc}") from exc

    def _watch_cancel(self) -> None:
        while True:
            try:
                stored = self._brief.read(self._names.cancel)
            except (HttpError, Unreachable, AgentError):
                stored = None
            if stored is not None:
                self._stop.request("Cancelled", "the job was cancelled")
            if self._stop.event.wait(self._attempt.timing.cancel_poll_s):
                return

    def _publish(self, ending: Ending) -> bytes:
        """Records log, result and outcome, in this order, and returns the outcome, or an earlier one that stands.

        An outage of GCS delays it; HttpError and AgentError prevent it.
        """
        ended_in = self._phases.phase
        self._phases.enter("result")
        self._log.finish()
        lost = self._stop.kind == "WorkerLost"
        bucket = self._bucket(Rest(self._metadata, _LOST_PATIENCE_S)) if lost else self._lasting
        try:
            status, error = self._verdict(ending, ended_in, bucket)
            data = self._outcome(ending, status, error, bucket)
            self._log.close(_LOST_PATIENCE_S if lost else None)
            self._phases.enter("done")
            if self._attempt.leads:
                data = create_once(bucket, self._names.outcome, data)  # an earlier one stands
        except Unreachable as exc:
            raise AgentError(f"{self._stop.message}; the bucket cannot be reached to record that: {exc}") from exc
        return data

    def _verdict(self, ending: Ending, phase: str, bucket: Bucket) -> tuple[JobStatus, ErrorInfo | None]:
        error = ending.error
        if error is None:
            if ending.pickled or not self._stop.kind:
                return JobStatus.SUCCEEDED, None
            error = ErrorInfo(self._stop.kind, self._stop.message)
        if error.kind == "WorkerLost" and bucket.read(self._names.cancel) is not None:
            error = ErrorInfo("Cancelled", "the job was cancelled")
        if error.kind in ("exception", "JobError", "SetupError", "WorkerLost") and self._metadata.preempted():
            what = f"{error.type_name or error.kind}: {error.message}"
            words = f"Google took the node back while the job ran ({what})"
            error = dataclasses.replace(error, kind="Preempted", message=words)
        error = dataclasses.replace(error, worker=self._spec.worker, phase=phase)
        return (JobStatus.CANCELLED if error.kind == "Cancelled" else JobStatus.FAILED), error

    def _outcome(self, ending: Ending, status: JobStatus, error: ErrorInfo | None, bucket: Bucket) -> bytes:
        """The signed outcome; the result that it names is in the bucket."""
        spec, result = self._spec, self._folder.result
        sha256, size = "", 0
        if ending.pickled and (error is None or error.kind == "exception"):
            sha256, size = sha256_of(result), result.stat().st_size
            bucket.upload_file(self._names.result(spec.attempt), result)
        report = Report(spec.job.job_id, spec.attempt, spec.worker, status, sha256, size, error, ended=clock.time())
        text = codec.encode(report).decode()
        return codec.encode(Outcome(spec.job.job_id, status, text, signing.sign(spec.key, text), writer="worker"))
