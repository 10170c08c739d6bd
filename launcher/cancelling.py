"""Ending a job from outside, and noticing that nobody drives it any more."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from launcher.attempts import Attempt, read_attempts
from launcher.errors import Conflict
from launcher.fleet import lease_book
from launcher.fleet.attempt import read_outcome
from launcher.fleet.engine import request_cancel, settle
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records.jobs import ErrorInfo, JobRecord, JobStatus
from launcher.records.leases import LeaseRefused, LeaseState

_DELETE_TIMEOUT_S = 60.0


def cancel(platform: Platform, job: JobRecord, key: str = "") -> None:
    """Records the wish, commits CANCELLED unless the job had ended, and deletes the attempts' nodes.

    The order matters: after the outcome stands no driver starts anything more, and whatever one is creating at this
    moment is condemned here or by that driver, which finds its lease CONDEMNED.
    """
    by = getpass.getuser()
    if read_outcome(platform, job) is None:
        request_cancel(platform, job, by)
        error = ErrorInfo("Cancelled", f"job {job.job_id} was cancelled by {by}")
        settle(platform, job, len(read_attempts(platform, job)), JobStatus.CANCELLED, error, key)
    for attempt in read_attempts(platform, job):
        holder = f"{job.job_id}/{attempt.number}"
        try:
            release(
                platform,
                attempt.zone,
                attempt.queued_resource,
                by=holder,
                reason=f"job {job.job_id} was cancelled",
                timeout_s=_DELETE_TIMEOUT_S,
            )
        except LeaseRefused as exc:
            raise Conflict(f"job {job.job_id} is cancelled, but its node is in use: {exc}") from exc


def find_lost(
    platform: Platform, job: JobRecord, attempts: Sequence[Attempt], *, unstarted_s: float, now: float
) -> str:
    """Why the job can never end by itself, or "" as far as anyone can tell that it may.

    `now` (this machine's clock, epoch seconds) only counts for a job that was never started.
    """
    if not attempts:
        if now - job.created < unstarted_s:
            return ""
        return f"the launcher process that should have started job {job.job_id} is gone"
    last = attempts[-1]
    found = lease_book.read(platform.store, last.zone, last.queued_resource)
    if found is None:
        return ""  # the intent was written this moment
    lease, stored = found
    if lease.state is LeaseState.CONDEMNED and stored.now - stored.updated > lease.ttl_s:
        return f"node {last.node} was given up ({lease.reason}) before the job had an outcome"
    if lease.expired(stored.updated, stored.now - lease.ttl_s):
        return f"nobody has renewed the lease of node {last.node} for {stored.now - stored.updated:.0f} s"
    return ""
