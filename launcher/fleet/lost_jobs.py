"""Jobs whose node was taken away: their outcome, from whoever took it."""

from __future__ import annotations

from launcher.errors import WorkerLost
from launcher.fleet import job_records
from launcher.fleet.platform import Platform
from launcher.records.jobs import ErrorInfo, JobRecord, JobStatus
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import JOB_ID, OWNER, JobPaths, node_id
from launcher.records.swap import Stored

_TELL_TTLS = 2  # times to live in which a worker that was stopped may still be telling how its job ended


def end_job(platform: Platform, lease: Lease, stored: Stored, reason: str) -> str:
    """Ends the job of a dead lease, unless it has an outcome or went on to another node. What was done, in words.

    `lease`, `stored`: as they were read before the node was taken, or afterwards. Nothing happens to a job of a lease
    that is alive, or that was condemned so lately that its holder may still tell.
    """
    condemned = lease.state is LeaseState.CONDEMNED
    dead = stored.now >= stored.updated + _TELL_TTLS * lease.ttl_s if condemned else lease.expired_as(stored)
    owner, _, rest = lease.job.partition("/")
    job_id, _, attempt = rest.partition("/")
    if not (dead and OWNER.fullmatch(owner) and JOB_ID.fullmatch(job_id)):
        return ""
    names = JobPaths(owner, job_id)
    job = job_records.read(platform.store, names.job, JobRecord)
    if job is None or platform.store.stat(names.outcome) is not None:
        return ""
    intents = job_records.read_intents(platform, job)
    if not intents or (intents[-1][0].queued_resource, str(intents[-1][0].attempt)) != (lease.resource, attempt):
        return ""
    why = f"node {node_id(lease.resource)} was deleted: {lease.reason if condemned else reason}"
    job_records.settle(platform, job, int(attempt), JobStatus.FAILED, ErrorInfo(WorkerLost.__name__, why))
    return f"job {owner}/{job_id} ended: {why}"
