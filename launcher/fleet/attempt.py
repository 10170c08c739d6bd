"""One attempt on one node: connect, start the agent, follow it through lost connections to its outcome."""

from __future__ import annotations

import dataclasses
import threading

from launcher.cloud.seams import Node, Progress, Transport
from launcher.errors import CloudError, ConnectError, JobError, Preempted, WorkerLost
from launcher.fleet import agent_link, lease_book, logs, stored_records
from launcher.fleet.acquire import FAIL, NODE_STATES, Acquired
from launcher.fleet.agent_link import AgentFile, AgentLink
from launcher.fleet.connect import connect, host_keys
from launcher.fleet.platform import Platform
from launcher.records import codec, frames
from launcher.records.jobs import JobRecord, Outcome, WorkerStatus
from launcher.records.paths import JobPaths
from launcher.records.spec import Spec

_RECONNECT_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclasses.dataclass
class Attempt:
    """What one attempt needs. Owned by the one thread that runs it."""

    platform: Platform
    job: JobRecord
    acquired: Acquired
    agent: AgentFile
    key: str
    secrets: dict[str, str]
    index_args: dict[str, str]
    progress: Progress
    cancel: threading.Event
    timings_s: dict[str, float]
    offset: int = 0  # the next log byte to show
    transport: Transport | None = None
    node: Node | None = None
    pinned: tuple[dict[str, str], ...] = ()
    hostnames: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"worker 0 of {self.acquired.node.name}"

    def connect(self) -> None:
        """Pins the host keys, connects to the worker. Before any job ran there."""
        intent = self.acquired.intent
        self.node = self.acquired.node
        attributes = host_keys(self.platform, intent.zone, intent.node, self.job.hosts, self.cancel)
        self.pinned = tuple(dict(a.host_keys) for a in attributes)
        self.hostnames = tuple(a.hostname for a in attributes)
        self._connect()

    def _connect(self, **limits: float) -> Transport:
        self.close()
        assert self.node is not None
        self.transport = connect(
            self.platform,
            zone=self.acquired.intent.zone,
            node=self.node,
            worker=0,
            pinned=self.pinned[0],
            hostname=self.hostnames[0],
            owner=self.job.owner,
            cancel=self.cancel,
            **limits,
        )
        return self.transport

    def start(self, lease_token: str) -> AgentLink:
        """Hands the attempt to the agent: from here on worker 0 is the lease's writer."""
        profile = self.platform.profile
        intent = self.acquired.intent
        spec = Spec(
            job=self.job,
            attempt=intent.attempt,
            zone=intent.zone,
            queued_resource=intent.queued_resource,
            project=profile.project,
            bucket=profile.bucket,
            storage_endpoint=profile.storage_endpoint,
            tpu_endpoint=profile.tpu_endpoint,
            lease_token=lease_token,
            key=self.key,
            secrets=self.secrets,
            timings_s=self.timings_s,
            index_args=self.index_args,
        )
        assert self.transport is not None
        return agent_link.start(self.transport, self.agent, spec, self.label, self.cancel)

    def follow_to_end(self, link: AgentLink) -> Outcome:
        """Shows the log and returns the outcome. A lost connection is resumed at the byte where it stopped."""
        while True:
            try:
                outcome = self._consume(link)
                if outcome is not None:
                    return outcome
            except ConnectError as exc:
                if not exc.transient:
                    raise
                self.progress.notice(f"connection lost ({exc}); the job runs on, connecting again")
            finally:
                link.close()
            resumed = self._resume()
            if isinstance(resumed, Outcome):
                self._show_rest()
                return resumed
            link = resumed

    def _consume(self, link: AgentLink) -> Outcome | None:
        for frame in link:
            if frame.kind == frames.LOG:
                fresh = frame.body[max(self.offset - frame.offset, 0) :]
                self.offset = max(self.offset, frame.offset + len(frame.body))
                self.progress.log(fresh)
            elif frame.kind == frames.PHASE:
                self._phase(codec.decode(WorkerStatus, frame.body))
            elif frame.kind == frames.OUTCOME:
                return codec.decode(Outcome, frame.body)
            elif frame.kind == frames.ERROR:
                raise WorkerLost(f"the agent on {self.label} gave up: {frame.body.decode(errors='replace')}")
        return None

    def _phase(self, status: WorkerStatus) -> None:
        self.timings_s.update(status.timings_s)
        self.progress.phase(status.phase)

    def _resume(self) -> AgentLink | Outcome:
        """A new link, or the outcome when the attempt ended meanwhile. Raises when the node is gone."""
        intent = self.acquired.intent
        step = 0
        while True:
            try:
                outcome = read_outcome(self.platform, self.job)
                if outcome is not None:
                    return outcome
                self._check_alive()
                transport = self._connect(timeout_s=10.0)
                return agent_link.follow(
                    transport, self.agent, intent.job_id, intent.attempt, self.offset, self.label, self.cancel
                )
            except (CloudError, ConnectError) as exc:
                if isinstance(exc, ConnectError) and not exc.transient:
                    raise
            self.platform.clock.wait(_RECONNECT_S[min(step, len(_RECONNECT_S) - 1)], self.cancel)
            step += 1

    def _show_rest(self) -> None:
        """What the log holds beyond what was shown: the supervisor uploads all of it before the outcome."""
        for data in logs.chunks(self.platform, self.job, self.acquired.intent.attempt, 0, self.offset):
            self.progress.log(data)
            self.offset += len(data)

    def _check_alive(self) -> None:
        """Raises Preempted or WorkerLost once nobody can be running the job any more; re-reads the address."""
        intent = self.acquired.intent
        node = self.platform.nodes.get_node(intent.zone, intent.node)
        if node is not None and NODE_STATES.get(node.state, ("", ""))[0] != FAIL:
            self.node = node
            found = lease_book.read(self.platform.store, intent.zone, intent.queued_resource)
            if found is not None and found[0].expired_as(found[1]):
                raise WorkerLost(f"{self.label} has not renewed its lease for {found[0].ttl_s:g} s: it is dead")
            return
        kind: type[JobError] = WorkerLost
        words = "is gone"
        if node is not None:
            words = f"is {node.state}"
            kind = Preempted if node.state == "PREEMPTED" else WorkerLost
        raise kind(f"node {intent.node} in {intent.zone} {words} while the job ran (spot={self.job.spot})")

    def stop(self, reason: str) -> None:
        """Ends the job's processes on the worker, as far as it can be reached."""
        if self.transport is not None and self.transport.alive():
            intent = self.acquired.intent
            agent_link.stop(self.transport, self.agent, intent.job_id, intent.attempt, reason, self.label)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.transport = None


def read_outcome(platform: Platform, job: JobRecord) -> Outcome | None:
    """The job's outcome, if it has ended."""
    return stored_records.read(platform.store, JobPaths(job.owner, job.job_id).outcome, Outcome)
