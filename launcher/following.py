"""Follow a job from outside its driver: live over SSH while its node lives, else from the bucket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launcher.attempts import Attempt
from launcher.cloud.seams import Progress, Transport
from launcher.errors import CloudError, ConnectError, LauncherError
from launcher.fleet import agent_link, lease_book, logs
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.connect import connect
from launcher.fleet.platform import Platform
from launcher.records import codec, frames
from launcher.records.jobs import JobRecord, Outcome
from launcher.records.leases import LeaseState

if TYPE_CHECKING:
    from launcher.job import Job

_POLL_S = 0.5
_LIVE_TIMEOUT_S = 8.0


def follow(platform: Platform, job: Job[Any], progress: Progress) -> None:
    """Shows the log of the newest attempt until the job ends."""
    shown: dict[int, int] = {}  # attempt -> bytes shown
    tried_live = 0
    while True:
        try:
            ended = job.done()  # before the log is read: what comes after the end is complete
            attempts = job.attempts
            if attempts:
                last = attempts[-1]
                progress.phase(last.phase)
                if not ended and last.worker_status is not None and tried_live < last.number:
                    tried_live = last.number
                    _follow_live(platform, job.record, last, shown, progress)
                offset = shown.get(last.number, 0)
                for data in logs.chunks(platform, job.record, last.number, 0, offset):
                    progress.log(data)
                    offset += len(data)
                shown[last.number] = offset
        except CloudError:
            ended = False  # a passing outage; nothing is lost, the next round reads on
        if ended:
            return
        platform.clock.wait(_POLL_S)


def _follow_live(
    platform: Platform, job: JobRecord, attempt: Attempt, shown: dict[int, int], progress: Progress
) -> None:
    """Frames from the worker until the stream ends for whatever reason: the bucket has the rest."""
    with contextlib.suppress(LauncherError), contextlib.ExitStack() as stack:
        transport = stack.enter_context(contextlib.closing(_reach(platform, job, attempt)))
        offset = shown.get(attempt.number, 0)
        link = agent_link.follow(
            transport, _agent(), job.job_id, attempt.number, offset, f"worker 0 of {attempt.node}", None
        )
        stack.callback(link.close)
        for frame in link:
            if frame.kind == frames.LOG:
                offset = max(shown.get(attempt.number, 0), frame.offset)
                fresh = frame.body[offset - frame.offset :]
                progress.log(fresh)
                shown[attempt.number] = offset + len(fresh)
            elif frame.kind in (frames.OUTCOME, frames.ERROR):
                return


def ask_worker(platform: Platform, job: JobRecord, attempts: Sequence[Attempt]) -> Outcome | None:
    """The outcome of the newest attempt in the live worker's own words. CloudError, ConnectError."""
    if not attempts:
        return None
    last = attempts[-1]
    with contextlib.closing(_reach(platform, job, last)) as transport:
        label = f"worker 0 of {last.node}"
        link = agent_link.follow(transport, _agent(), job.job_id, last.number, 0, label, None)
        with contextlib.closing(link):
            for frame in link:
                if frame.kind == frames.OUTCOME:
                    return codec.decode(Outcome, frame.body)
    return None


def _reach(platform: Platform, job: JobRecord, attempt: Attempt) -> Transport:
    """A connection to worker 0, with the host key that was pinned before the job ran."""
    found = lease_book.read(platform.store, attempt.zone, attempt.queued_resource)
    if found is None or found[0].state is LeaseState.CONDEMNED or not found[0].host_keys:
        raise ConnectError(f"node {attempt.node} is not there any more")
    node = platform.nodes.get_node(attempt.zone, attempt.node)
    if node is None:
        raise ConnectError(f"node {attempt.node} is gone")
    attributes = platform.nodes.guest_attributes(attempt.zone, attempt.node)
    return connect(
        platform,
        zone=attempt.zone,
        node=node,
        worker=0,
        pinned=found[0].host_keys[0],
        hostname=attributes[0].hostname if attributes else "",
        owner=job.owner,
        cancel=threading.Event(),
        timeout_s=_LIVE_TIMEOUT_S,
    )


def _agent() -> AgentFile:
    from launcher.submission import agent_file

    return agent_file()
