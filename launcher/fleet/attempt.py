"""One attempt on one node: hand it to the agent, follow it through lost connections to its outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from launcher.cloud.seams import Progress
from launcher.errors import CloudError, ConnectError, Preempted, WorkerLost
from launcher.fleet import job_records, lease_book
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.session import Session
from launcher.fleet.waiting import FAIL, NODE_STATES
from launcher.records import codec, frames
from launcher.records.jobs import JobStatus, Outcome, WorkerStatus
from launcher.records.spec import Spec

_RECONNECT_S = 10.0


@dataclasses.dataclass
class Attempt:
    """What one attempt needs. Owned by the one thread that runs it."""

    platform: Platform
    spec: Spec
    session: Session
    progress: Progress
    cancel: threading.Event
    offset: int = 0  # the next log byte to show
    heard: bool = False  # the agent has the attempt: from then on it is followed, not started
    ran: bool = False  # the user's code was reached

    def run(self) -> Outcome:
        """Hands the attempt to the agent, which is the lease's writer from then on, shows the log and returns the
        outcome. A lost connection is resumed at the byte where it stopped."""
        poll = Poll(self.platform.clock, longest_s=_RECONNECT_S, cancel=self.cancel)
        while True:
            try:
                outcome = self._start() if not self.heard else self._follow()
                if outcome is not None:
                    return outcome
            except ConnectError as exc:
                if not exc.transient:
                    raise
                self.progress.notice(f"connection lost ({exc}); the job runs on, connecting again")
            outcome = self._reconnect(poll)
            if outcome is not None:
                self.ran = self.ran or outcome.status is JobStatus.SUCCEEDED
                with contextlib.suppress(CloudError):
                    self._show_rest()
                return outcome

    def _start(self) -> Outcome | None:
        """Starting twice is starting once. The lease may have gone back to the pool this moment: then it is taken
        again."""
        session = self.session
        while True:
            token = session.token
            # What an earlier request without a token was answered with may still be on its way.
            answers = session.run(dataclasses.replace(self.spec, lease_token=token), self.cancel)
            outcome, released = self._consume(answers, heed_release=not token)
            if not released:
                return outcome
            if not session.take_again(self.spec.holder, self._job_name()):
                raise WorkerLost(f"node {session.node.name} was taken by somebody else or goes away")

    def _job_name(self) -> str:
        return f"{self.spec.job.owner}/{self.spec.job.job_id}/{self.spec.attempt}"

    def _follow(self) -> Outcome | None:
        job_id, attempt = self.spec.job.job_id, self.spec.attempt
        with self.session.follow(job_id, attempt, self.offset, self.cancel) as answers:
            return self._consume(answers, heed_release=False)[0]

    def _consume(self, answers: Iterator[frames.Frame], *, heed_release: bool) -> tuple[Outcome | None, bool]:
        """The outcome once it comes; or whether the lease had been released, so that nothing was started."""
        for frame in answers:
            if frame.kind == frames.RELEASED:
                if heed_release and not self.heard:
                    self.session.heard(frame)
                    return None, True
                continue
            if frame.kind == frames.ERROR:
                raise WorkerLost(f"the agent on {self.session.label} gave up: {frame.body.decode(errors='replace')}")
            self.session.heard(frame)
            if frame.kind == frames.LOG:
                self.progress.log(frame.body[max(self.offset - frame.offset, 0) :])
                self.offset = max(self.offset, frame.offset + len(frame.body))
            elif frame.kind == frames.PHASE:
                phase = codec.decode(WorkerStatus, frame.body).phase
                self.ran = self.ran or phase == "running"
                self.progress.phase(phase)
            elif frame.kind == frames.OUTCOME:
                self.heard = True
                return codec.decode(Outcome, frame.body), False
            else:
                continue  # a heartbeat tells nothing of this attempt
            self.heard = True
        return None, False

    def _reconnect(self, poll: Poll) -> Outcome | None:
        """Connects anew; or the outcome when the job ended meanwhile. Raises when the node is gone."""
        while True:
            poll.pause()
            try:
                outcome = job_records.read_outcome(self.platform, self.spec.job)
                if outcome is None:
                    self._check_alive()
                    self.session.connect(self.cancel, timeout_s=_RECONNECT_S, tell=self.progress.notice)
                return outcome
            except (CloudError, ConnectError) as exc:
                if isinstance(exc, ConnectError) and not exc.transient:
                    raise

    def _show_rest(self) -> None:
        """What the log holds beyond what was shown: the supervisor uploads all of it before the outcome."""
        for data in job_records.log_chunks(self.platform, self.spec.job, self.spec.attempt, 0, self.offset):
            self.progress.log(data)
            self.offset += len(data)

    def _check_alive(self) -> None:
        """Raises Preempted or WorkerLost once nobody can be running the job any more; re-reads the address."""
        zone, name = self.spec.zone, self.session.node.name
        node = self.platform.nodes.get_node(zone, name)
        if node is not None and NODE_STATES.get(node.state, ("", ""))[0] != FAIL:
            self.session.node = node
            found = lease_book.read(self.platform.store, zone, self.spec.queued_resource)
            if found is not None and found[0].expired_as(found[1]):
                words = f"has not renewed its lease for {found[0].ttl_s:g} s: it is dead"
                raise WorkerLost(f"{self.session.label} {words}")
            return
        kind = Preempted if node is not None and node.state == "PREEMPTED" else WorkerLost
        words = "is gone" if node is None else f"is {node.state}"
        raise kind(f"node {name} in {zone} {words} while the job ran (spot={self.session.lease.spot})")

    def stop(self, reason: str) -> bool:
        """Ends the job's processes on the worker; False where it could not be reached."""
        return self.session.stop(self.spec.job.job_id, self.spec.attempt, reason)
