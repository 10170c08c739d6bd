"""The end of an attempt in the bucket: log, result, outcome and status, in this order."""

from __future__ import annotations

import dataclasses

from launcher.agent.blobs import sha256_of
from launcher.agent.bucket import Bucket
from launcher.agent.failures import AgentError, StopRequest
from launcher.agent.home import AttemptFolder
from launcher.agent.log import Uploader
from launcher.agent.rest import Unreachable
from launcher.agent.services import Services
from launcher.agent.status import Phases
from launcher.agent.task import Ending
from launcher.agent.timing import Clock
from launcher.records import codec, signing
from launcher.records.jobs import ErrorInfo, JobStatus, Outcome, Report
from launcher.records.paths import JobPaths
from launcher.records.spec import Spec
from launcher.records.swap import create_once

_LOST_PATIENCE_S = 60.0  # a worker that lost its lease because GCS is silent does not wait for GCS


class Publisher:
    """Says how the attempt ended, once."""

    def __init__(self, spec: Spec, folder: AttemptFolder, services: Services, phases: Phases, clock: Clock) -> None:
        self._spec = spec
        self._folder = folder
        self._services = services
        self._phases = phases
        self._clock = clock
        self._names = JobPaths(spec.job.owner, spec.job.job_id)

    def publish(self, ending: Ending, stop: StopRequest, uploader: Uploader, *, leads: bool) -> bytes:
        """Records the outcome and returns it, or an earlier one that stands.

        An outage of GCS delays it; HttpError and AgentError prevent it.
        """
        lost = stop.kind == "WorkerLost"
        bucket = self._services.parting if lost else self._services.lasting
        try:
            uploader.close(_LOST_PATIENCE_S if lost else None)
            outcome = self._outcome(ending, stop, bucket)
            data = codec.encode(outcome)
            if leads:
                data = create_once(bucket, self._names.outcome, data)  # an earlier one stands
        except Unreachable as exc:
            raise AgentError(f"{stop.message}; the bucket cannot be reached to record that: {exc}") from exc
        self._phases.enter("done")
        return data

    def _outcome(self, ending: Ending, stop: StopRequest, bucket: Bucket) -> Outcome:
        status, error = self._verdict(ending, stop, bucket)
        sha256, size = "", 0
        if ending.pickled and (error is None or error.kind == "exception"):
            size = self._folder.result.stat().st_size
            sha256 = sha256_of(self._folder.result)
            bucket.upload_file(self._names.result(self._spec.attempt), self._folder.result)
        report = Report(
            job_id=self._spec.job.job_id,
            attempt=self._spec.attempt,
            worker=self._spec.worker,
            status=status,
            sha256=sha256,
            size=size,
            error=error,
            ended=self._clock.time(),
        )
        text = codec.encode(report).decode()
        return Outcome(
            job_id=self._spec.job.job_id,
            status=status,
            report=text,
            signature=signing.sign(self._spec.key, text),
            writer="worker",
        )

    def _verdict(self, ending: Ending, stop: StopRequest, bucket: Bucket) -> tuple[JobStatus, ErrorInfo | None]:
        error = ending.error
        if error is None and (ending.pickled or not stop.kind):
            return JobStatus.SUCCEEDED, None
        if error is None:
            error = ErrorInfo(stop.kind, stop.message, phase=self._phases.stopped_in)
        if error.kind == "WorkerLost" and bucket.read(self._names.cancel) is not None:
            error = dataclasses.replace(error, kind="Cancelled", message="the job was cancelled")
        if error.kind in ("exception", "JobError", "SetupError", "WorkerLost") and self._services.metadata.preempted():
            what = f"{error.type_name or error.kind}: {error.message}"
            error = dataclasses.replace(
                error, kind="Preempted", message=f"Google took the node back while the job ran ({what})"
            )
        error = dataclasses.replace(error, worker=self._spec.worker, phase=error.phase or "running")
        return (JobStatus.CANCELLED if error.kind == "Cancelled" else JobStatus.FAILED), error
