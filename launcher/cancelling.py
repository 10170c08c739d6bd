"""Ending a job from outside: somebody cancels it, or notices that nobody drives it any more."""

from __future__ import annotations

import contextlib
import time

from launcher.errors import CloudError, Conflict, WorkerLost
from launcher.fleet import lease_book, pool
from launcher.fleet.job_records import read_intents, read_outcome, settle
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records import codec
from launcher.records.jobs import Cancel, ErrorInfo, Intent, JobRecord, JobStatus
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.paths import JobPaths
from launcher.records.swap import Stored, create_once

_UNSTARTED_S = 900.0  # a job without a next record for this long has lost its driver


def request_cancel(platform: Platform, job: JobRecord) -> None:
    """Records the wish to cancel: the job's driver and its worker look for it. Repeating it changes nothing."""
    wish = Cancel(job.job_id, platform.profile.owner, time.time())
    create_once(platform.store, JobPaths(job.owner, job.job_id).cancel, codec.encode(wish))


def cancel(platform: Platform, job: JobRecord, key: str = "", *, timeout_s: float, force: bool = False) -> bool:
    """Records the wish, commits CANCELLED unless the job had ended, and deletes the nodes that it holds; whether all
    are seen gone within `timeout_s`. A node that stays warm after the job is left to its worker, which stops the job
    within seconds, unless `force` is set.

    The order matters: after the outcome stands no driver starts anything more, and whatever one is creating at this
    moment is condemned here or by that driver, which finds its lease CONDEMNED.
    """
    if read_outcome(platform, job) is None:
        request_cancel(platform, job)
        error = ErrorInfo("Cancelled", f"job {job.job_id} was cancelled by {platform.profile.owner}")
        settle(platform, job, 1, JobStatus.CANCELLED, error, key)
    gone = True
    for intent, _ in read_intents(platform, job):
        found = lease_book.read(platform.store, intent.zone, intent.queued_resource)
        if found is None and not intent.made:
            continue
        if found is not None and _spared(*found, job):
            if force:  # its driver is gone; where the worker has it, that lets it go
                pool.give_back(platform, found[0], intent.holder)
            continue
        if found is not None and _stays(found[0], intent, job, force):
            continue
        reason = f"job {job.job_id} ended"
        try:
            gone &= release(
                platform, intent.zone, intent.queued_resource, by=intent.holder, reason=reason, timeout_s=timeout_s
            )
        except LeaseRefused as exc:
            raise Conflict(f"job {job.job_id} is cancelled, but its node is in use: {exc}") from exc
    return gone


def _spared(lease: Lease, stored: Stored, job: JobRecord) -> bool:
    """Whether the node is not this job's to delete: named by it, Terraform's, somebody else's, prepared for longer."""
    if lease.state is LeaseState.CONDEMNED:
        return False
    others = lease.external or lease.standing or lease.owner != job.owner
    return others or bool(job.node) or lease.warm_until > stored.now


def _stays(lease: Lease, intent: Intent, job: JobRecord, force: bool) -> bool:
    """Whether the node of this intent is used by something else, or stays warm once its worker has stopped the job."""
    if lease.state is LeaseState.CONDEMNED:
        return False
    if lease.holder != intent.holder:
        return not (force and intent.made and lease.state is LeaseState.WARM)
    if lease.job and lease.job != f"{job.owner}/{job.job_id}/{intent.attempt}":
        return True  # the same session's next job
    return not force and lease.state is LeaseState.HELD and lease.writer == "worker" and job.keep_warm_s > 0


def settle_if_lost(platform: Platform, job: JobRecord, key: str = "") -> None:
    """A job that can never end by itself gets its outcome from whoever notices, and its node is deleted."""
    intents = read_intents(platform, job)
    last = intents[-1] if intents else None
    why = _lost(platform, job, last)
    if not why:
        return
    dead: list[Intent] = []
    for intent, _ in intents:
        found = lease_book.read(platform.store, intent.zone, intent.queued_resource)
        ours = found is not None and (found[0].holder == intent.holder or found[0].state is LeaseState.CONDEMNED)
        if found is None or not ours:
            continue  # nothing was asked for, or it is somebody else's by now
        try:
            lease_book.condemn(platform.store, intent.zone, intent.queued_resource, why, by="")
        except LeaseRefused:
            if found[0].external:
                continue
            return  # somebody renewed it this moment
        dead.append(intent)
    attempt = last[0].attempt if last else 0
    settle(platform, job, attempt, JobStatus.FAILED, ErrorInfo(WorkerLost.__name__, why), key)
    for intent in dead:
        with contextlib.suppress(CloudError):  # the node's own timer finds a condemned lease too
            platform.nodes.delete_queued_resource(intent.zone, intent.queued_resource)


def _lost(platform: Platform, job: JobRecord, last: tuple[Intent, Stored] | None) -> str:
    """Why nobody can be working on the job, or "". Timed by GCS's clock alone."""
    newest = last[1] if last else platform.store.read(JobPaths(job.owner, job.job_id).job)
    found = lease_book.read(platform.store, last[0].zone, last[0].queued_resource) if last else None
    if newest is None:
        return ""
    if last is None or found is None:
        if newest.now - newest.updated < _UNSTARTED_S:
            return ""
        return f"the launcher process that should have started job {job.job_id} is gone"
    intent, (lease, stored) = last[0], found
    silent_s = stored.now - max(stored.updated, newest.updated)
    if silent_s < 2 * lease.ttl_s:  # a worker that stopped in time may still be telling how the job ended
        return ""
    if lease.state is LeaseState.CONDEMNED:
        return f"node {intent.node} was given up ({lease.reason}) before the job had an outcome"
    if lease.holder != intent.holder:
        return f"node {intent.node} was released before the job had an outcome"
    return f"nobody has renewed the lease of node {intent.node} for {silent_s:.0f} s"
