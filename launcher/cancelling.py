"""Ending a job from outside: somebody cancels it, or notices that nobody drives it any more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from launcher.errors import CloudError, Conflict, WorkerLost
from launcher.fleet import lease_book
from launcher.fleet.job_records import AttemptRecord, read_attempts, read_outcome, settle
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records import codec
from launcher.records.jobs import Cancel, ErrorInfo, JobRecord, JobStatus
from launcher.records.leases import LeaseRefused, LeaseState
from launcher.records.paths import JobPaths
from launcher.records.swap import create_once

_UNSTARTED_S = 900.0  # a job without a next record for this long has lost its driver


def request_cancel(platform: Platform, job: JobRecord) -> None:
    """Records the wish to cancel: the job's driver and its worker look for it. Repeating it changes nothing."""
    wish = Cancel(job.job_id, platform.profile.owner, time.time())
    create_once(platform.store, JobPaths(job.owner, job.job_id).cancel, codec.encode(wish))


def cancel(platform: Platform, job: JobRecord, key: str = "", *, timeout_s: float) -> bool:
    """Records the wish, commits CANCELLED unless the job had ended, and deletes the attempts' nodes; whether all are
    seen gone within `timeout_s`.

    The order matters: after the outcome stands no driver starts anything more, and whatever one is creating at this
    moment is condemned here or by that driver, which finds its lease CONDEMNED.
    """
    if read_outcome(platform, job) is None:
        request_cancel(platform, job)
        error = ErrorInfo("Cancelled", f"job {job.job_id} was cancelled by {platform.profile.owner}")
        settle(platform, job, 1, JobStatus.CANCELLED, error, key)
    gone = True
    for attempt in read_attempts(platform, job):
        by = f"{job.job_id}/{attempt.number}"
        reason = f"job {job.job_id} ended"
        try:
            gone &= release(platform, attempt.zone, attempt.queued_resource, by=by, reason=reason, timeout_s=timeout_s)
        except LeaseRefused as exc:
            raise Conflict(f"job {job.job_id} is cancelled, but its node is in use: {exc}") from exc
    return gone


def settle_if_lost(platform: Platform, job: JobRecord, key: str = "") -> None:
    """A job that can never end by itself gets its outcome from whoever notices, and its node is deleted."""
    attempts = read_attempts(platform, job)
    why = _lost(platform, job, attempts)
    if not why:
        return
    if attempts:
        resource = attempts[-1].queued_resource
        try:
            lease_book.condemn(platform.store, attempts[-1].zone, resource, why, by="")
        except LeaseRefused:
            if lease_book.read(platform.store, attempts[-1].zone, resource) is not None:
                return  # somebody renewed it this moment
    settle(platform, job, len(attempts), JobStatus.FAILED, ErrorInfo(WorkerLost.__name__, why), key)
    for attempt in attempts:
        with contextlib.suppress(CloudError):  # the node's own timer finds a condemned lease too
            platform.nodes.delete_queued_resource(attempt.zone, attempt.queued_resource)


def _lost(platform: Platform, job: JobRecord, attempts: Sequence[AttemptRecord]) -> str:
    """Why nobody can be working on the job, or "". Timed by GCS's clock alone."""
    names = JobPaths(job.owner, job.job_id)
    found = None
    if attempts:
        last = attempts[-1]
        found = lease_book.read(platform.store, last.zone, last.queued_resource)
    if found is None:
        newest = platform.store.read(names.intent(len(attempts)) if attempts else names.job)
        if newest is None or newest.now - newest.updated < _UNSTARTED_S:
            return ""
        return f"the launcher process that should have started job {job.job_id} is gone"
    lease, stored = found
    silent_s = stored.now - stored.updated
    if silent_s < 2 * lease.ttl_s:  # a worker that stopped in time may still be telling how the job ended
        return ""
    if lease.state is LeaseState.CONDEMNED:
        return f"node {last.node} was given up ({lease.reason}) before the job had an outcome"
    if lease.state is LeaseState.WARM:
        return ""
    return f"nobody has renewed the lease of node {last.node} for {silent_s:.0f} s"
