"""The attempts of a job, as its records tell them."""

from __future__ import annotations

import dataclasses

from launcher.fleet import stored_records
from launcher.fleet.platform import Platform
from launcher.records.jobs import Intent, JobRecord, WorkerStatus
from launcher.records.paths import JobPaths


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One execution of a job on a node. `worker_status`: worker 0's own last word, None before it spoke."""

    number: int
    zone: str
    node: str
    queued_resource: str
    created: float  # epoch seconds
    why: str
    worker_status: WorkerStatus | None

    @property
    def phase(self) -> str:
        return self.worker_status.phase if self.worker_status else "provisioning"


def read_attempts(platform: Platform, job: JobRecord) -> list[Attempt]:
    """All attempts, oldest first."""
    found: list[Attempt] = []
    paths = JobPaths(job.owner, job.job_id)
    while (intent := stored_records.read(platform.store, paths.intent(len(found) + 1), Intent)) is not None:
        status = stored_records.read(platform.store, paths.worker(intent.attempt, 0, 0), WorkerStatus)
        found.append(
            Attempt(
                number=intent.attempt,
                zone=intent.zone,
                node=intent.node,
                queued_resource=intent.queued_resource,
                created=intent.created,
                why=intent.why,
                worker_status=status,
            )
        )
    return found
