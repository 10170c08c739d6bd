"""One attempt on one node: connect, start the agent, follow it through lost connections to its outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import threading

from launcher.cloud.seams import GuestAttributes, Node, Progress, Transport
from launcher.errors import CloudError, ConnectError, Preempted, WorkerLost
from launcher.fleet import agent_link, job_records, lease_book
from launcher.fleet.acquire import FAIL, NODE_STATES
from launcher.fleet.agent_link import AgentFile, AgentLink
from launcher.fleet.connect import CONNECT_TIMEOUT_S, connect, host_keys
from launcher.fleet.platform import Platform, Poll
from launcher.records import codec, frames
from launcher.records.jobs import Outcome, WorkerStatus
from launcher.records.spec import Spec

_RECONNECT_S = 10.0


@dataclasses.dataclass
class Attempt:
    """What one attempt needs. Owned by the one thread that runs it."""

    platform: Platform
    spec: Spec
    node: Node
    agent: AgentFile
    progress: Progress
    cancel: threading.Event
    offset: int = 0  # the next log byte to show
    heard: bool = False  # the agent has the attempt: from then on it is followed, not started
    transport: Transport | None = None
    attributes: tuple[GuestAttributes, ...] = ()

    @property
    def label(self) -> str:
        return f"worker 0 of {self.node.name}"

    def connect(self) -> None:
        """Learns the host keys that every later contact must see, and connects. Before any job ran there."""
        self.attributes = host_keys(self.platform, self.spec.zone, self.node.name, self.spec.job.hosts, self.cancel)
        self._connect(CONNECT_TIMEOUT_S)

    def _connect(self, timeout_s: float) -> None:
        self.close()
        self.transport = connect(
            self.platform,
            zone=self.spec.zone,
            node=self.node,
            worker=0,
            pinned=self.attributes[0],
            owner=self.spec.job.owner,
            cancel=self.cancel,
            timeout_s=timeout_s,
            tell=self.progress.notice,
        )

    def run(self, lease_token: str) -> Outcome:
        """Hands the attempt to the agent, which is the lease's writer from then on, shows the log and returns the
        outcome. A lost connection is resumed at the byte where it stopped."""
        self.spec = dataclasses.replace(self.spec, lease_token=lease_token)
        poll = Poll(self.platform.clock, longest_s=_RECONNECT_S, cancel=self.cancel)
        while True:
            try:
                with contextlib.closing(self._link()) as link:
                    outcome = self._consume(link)
                if outcome is not None:
                    return outcome
            except ConnectError as exc:
                if not exc.transient:
                    raise
                self.progress.notice(f"connection lost ({exc}); the job runs on, connecting again")
            outcome = self._reconnect(poll)
            if outcome is not None:
                with contextlib.suppress(CloudError):
                    self._show_rest()
                return outcome

    def _link(self) -> AgentLink:
        assert self.transport is not None
        if not self.heard:  # starting twice is starting once
            return agent_link.start(self.transport, self.agent, self.spec, self.label, self.cancel)
        job_id, attempt = self.spec.job.job_id, self.spec.attempt
        return agent_link.follow(self.transport, self.agent, job_id, attempt, self.offset, self.label, self.cancel)

    def _consume(self, link: AgentLink) -> Outcome | None:
        for frame in link:
            if frame.kind == frames.ERROR:
                raise WorkerLost(f"the agent on {self.label} gave up: {frame.body.decode(errors='replace')}")
            self.heard = True
            if frame.kind == frames.LOG:
                self.progress.log(frame.body[max(self.offset - frame.offset, 0) :])
                self.offset = max(self.offset, frame.offset + len(frame.body))
            elif frame.kind == frames.PHASE:
                self.progress.phase(codec.decode(WorkerStatus, frame.body).phase)
            elif frame.kind == frames.OUTCOME:
                return codec.decode(Outcome, frame.body)
        return None

    def _reconnect(self, poll: Poll) -> Outcome | None:
        """Connects anew; or the outcome when the job ended meanwhile. Raises when the node is gone."""
        while True:
            poll.pause()
            try:
                outcome = job_records.read_outcome(self.platform, self.spec.job)
                if outcome is None:
                    self._check_alive()
                    self._connect(_RECONNECT_S)
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
        node = self.platform.nodes.get_node(self.spec.zone, self.node.name)
        if node is not None and NODE_STATES.get(node.state, ("", ""))[0] != FAIL:
            self.node = node
            found = lease_book.read(self.platform.store, self.spec.zone, self.spec.queued_resource)
            if found is not None and found[0].expired_as(found[1]):
                raise WorkerLost(f"{self.label} has not renewed its lease for {found[0].ttl_s:g} s: it is dead")
            return
        kind = Preempted if node is not None and node.state == "PREEMPTED" else WorkerLost
        words = "is gone" if node is None else f"is {node.state}"
        raise kind(f"node {self.node.name} in {self.spec.zone} {words} while the job ran (spot={self.spec.job.spot})")

    def stop(self, reason: str) -> None:
        """Ends the job's processes on the worker, as far as it can be reached."""
        if self.transport is not None and self.transport.alive():
            job_id = self.spec.job.job_id
            agent_link.stop(self.transport, self.agent, job_id, self.spec.attempt, reason, self.label)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.transport = None
