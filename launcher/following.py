"""Follow a job from outside its driver: live over SSH while its node lives, else from the bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from launcher.cloud.seams import GuestAttributes, Progress
from launcher.errors import ConnectError, LauncherError, Unavailable
from launcher.fleet import agent_link, lease_book
from launcher.fleet.agent_link import AgentLink
from launcher.fleet.connect import connect
from launcher.fleet.job_records import AttemptRecord, log_chunks
from launcher.fleet.platform import Platform
from launcher.records import codec, frames
from launcher.records.jobs import JobRecord, Outcome
from launcher.records.leases import LeaseState
from launcher.submission import agent_file

if TYPE_CHECKING:
    from launcher.job import Job

_POLL_S = 0.5


def follow(platform: Platform, job: Job[Any], progress: Progress) -> None:
    """Shows the log of the newest attempt until the job ends."""
    attempt = shown = tried_live = 0  # bytes shown of the log of that attempt
    while True:
        try:
            ended = job.done()  # before the log is read: what comes after the end is complete
            attempts = job.attempts
            if attempts:
                last = attempts[-1]
                progress.phase(last.phase)
                if last.number > attempt:
                    attempt, shown = last.number, 0
                for data in log_chunks(platform, job.record, attempt, 0, shown):
                    progress.log(data)
                    shown += len(data)
                if not ended and last.worker_status is not None and tried_live < attempt:
                    tried_live = attempt
                    shown = _follow_live(platform, job.record, last, shown, progress)
        except Unavailable:
            ended = False  # a passing outage; nothing is lost, the next round reads on
        if ended:
            return
        platform.clock.wait(_POLL_S)


def _follow_live(platform: Platform, job: JobRecord, attempt: AttemptRecord, shown: int, progress: Progress) -> int:
    """Shows what comes from the worker until that ends for whatever reason: the bucket has the rest. Bytes shown."""
    with contextlib.suppress(LauncherError), _worker(platform, job, attempt, shown) as link:
        for frame in link.frames():
            if frame.kind == frames.LOG:
                progress.log(frame.body[max(shown - frame.offset, 0) :])
                shown = max(shown, frame.offset + len(frame.body))
    return shown


def ask_worker(platform: Platform, job: JobRecord, attempts: Sequence[AttemptRecord]) -> Outcome | None:
    """The outcome of the newest attempt in the live worker's own words. CloudError, ConnectError."""
    if attempts:
        with _worker(platform, job, attempts[-1], 0) as link:
            for frame in link.frames():
                if frame.kind == frames.OUTCOME:
                    return codec.decode(Outcome, frame.body)
    return None


@contextlib.contextmanager
def _worker(platform: Platform, job: JobRecord, attempt: AttemptRecord, offset: int) -> Iterator[AgentLink]:
    """What worker 0 tells of the attempt. ConnectError where it is not there, or not the one that the job ran on."""
    found = lease_book.read(platform.store, attempt.zone, attempt.queued_resource)
    node = platform.nodes.get_node(attempt.zone, attempt.node)
    if found is None or found[0].state is LeaseState.CONDEMNED or not found[0].host_keys or node is None:
        raise ConnectError(f"node {attempt.node} is not there any more")
    if not attempt.made:
        resource = platform.nodes.get_queued_resource(attempt.zone, attempt.queued_resource)
        owner = resource.labels.get("launcher-owner") if resource is not None else ""
        if owner != job.owner:  # the bucket may not choose whose word counts
            raise ConnectError(f"node {attempt.node} is not {job.owner}'s own, so it is not asked about the job")
    attributes = platform.nodes.guest_attributes(attempt.zone, attempt.node) or (GuestAttributes({}),)
    # The bucket's word for the keys is not enough where the worker is asked because the bucket is not trusted.
    if attributes[0].host_keys != found[0].host_keys[0]:
        raise ConnectError(f"worker 0 of {attempt.node} has other host keys than before the job ran")
    with contextlib.ExitStack() as stack:
        transport = connect(
            platform,
            zone=attempt.zone,
            node=node,
            worker=0,
            pinned=attributes[0],
            owner=job.owner,
            timeout_s=0.0,  # it has run for a while: nothing to wait for
        )
        stack.enter_context(contextlib.closing(transport))
        label = f"worker 0 of {attempt.node}"
        link = agent_link.follow(transport, agent_file(), job.job_id, attempt.number, offset, label)
        yield stack.enter_context(contextlib.closing(link))
