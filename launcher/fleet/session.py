"""A session: this process' use of one node, on which its attempts run one after another.

The session holds the node's lease. The client writes the lease until the agent's session has taken it over, and again
only to take a WARM one. The connection stays open when a call is over, so that the next one opens nothing new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator

from launcher.cloud.seams import GuestAttributes, Node, Transport
from launcher.errors import CloudError, ConnectError, WorkerLost
from launcher.fleet import agent_link, lease_book
from launcher.fleet.agent_link import AgentFile, AgentLink
from launcher.fleet.connect import CONNECT_TIMEOUT_S, connect, host_keys
from launcher.fleet.platform import Platform
from launcher.fleet.request import NodeRequest
from launcher.records import frames
from launcher.records.leases import Lease, LeaseRefused
from launcher.records.paths import holder_id
from launcher.records.spec import Spec
from launcher.records.swap import Stored


def new_holder(owner: str) -> str:
    """A name for a session in leases. Each has its own: what one thread of a process holds is not another's."""
    return holder_id(owner, socket.gethostname().partition(".")[0] or "unknown", os.getpid())


class Session:
    """One node as this process uses it. Belongs to one engine at a time.

    `lease`: as last written here. `holding`: whether it is ours by all that was heard. `token`: of the lease that
    the agent is to take over, "" once it has.
    """

    def __init__(self, platform: Platform, agent: AgentFile, lease: Lease, node: Node, owner: str) -> None:
        self.platform = platform
        self.agent = agent
        self.lease = lease
        self.node = node
        self.owner = owner  # of the jobs, and so the user on the worker
        self.holding = True
        self.token = lease.token
        self.deadline = float("inf")  # monotonic: the end of the node's lifetime
        self.goodbye = ""  # what was last said of its staying warm
        self._behind_s = 0.0  # what is to be added to a time of GCS's for a monotonic one
        self.prepared_until = 0.0  # monotonic: it was prepared ahead, and is not idle before
        self._transport: Transport | None = None
        self._link: AgentLink | None = None
        self._attributes = tuple(
            GuestAttributes(dict(each), lease.hostnames[k] if k < len(lease.hostnames) else "")
            for k, each in enumerate(lease.host_keys)
        )

    @property
    def label(self) -> str:
        return f"worker 0 of {self.node.name}"

    @property
    def connected(self) -> bool:
        return self._transport is not None and self._transport.alive()

    def learn(self, hosts: int, cancel: threading.Event) -> None:
        """The host keys that every later contact must see. Before any job ran there."""
        self._attributes = host_keys(self.platform, self.lease.zone, self.node.name, hosts, cancel)

    def connect(
        self,
        cancel: threading.Event | None = None,
        *,
        timeout_s: float = CONNECT_TIMEOUT_S,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """A new connection. ConnectError."""
        self.close()
        self._transport = connect(
            self.platform,
            zone=self.lease.zone,
            node=self.node,
            worker=0,
            pinned=self._attributes[0],
            owner=self.owner,
            cancel=cancel,
            timeout_s=timeout_s,
            tell=tell,
        )

    def hold(self, holder: str, *, created: float = 0.0) -> None:
        """The client's last word in the lease: HELD, with what the next sessions need to know. The agent goes on."""
        pinned = tuple(dict(each.host_keys) for each in self._attributes)
        names = tuple(each.hostname for each in self._attributes)

        def step(lease: Lease, stored: Stored) -> Lease:
            self._note_times(created or lease.created, lease, stored.now)
            return dataclasses.replace(
                lease.hold(holder, "client"),
                host_keys=pinned,
                hostnames=names,
                created=created or lease.created,
                ready=lease.ready or stored.now,
            )

        try:
            self.lease = lease_book.change(self.platform.store, self.lease.zone, self.lease.resource, step)
        except LeaseRefused as exc:
            raise WorkerLost(f"the node was taken away before the job started: {exc}") from exc
        self.token = self.lease.token

    def adopt(self, lease: Lease, now: float) -> None:
        """The lease as it was taken or renewed since; `now` by GCS's clock."""
        self.lease, self.token = lease, lease.token
        self._note_times(lease.created, lease, now)

    def take_again(self, holder: str, job: str) -> bool:
        """Takes the node that this session released; False where somebody else has it or it goes away."""

        def step(lease: Lease, stored: Stored) -> Lease:
            self._note_times(lease.created, lease, stored.now)
            return lease.hold(holder, "client", job=job, expired=lease.expired_as(stored))

        try:
            self.lease = lease_book.change(self.platform.store, self.lease.zone, self.lease.resource, step)
        except (LeaseRefused, CloudError):
            return False
        self.holding, self.token = True, self.lease.token
        return True

    def _note_times(self, created: float, lease: Lease, now: float) -> None:
        """`now` by GCS's clock: this machine's own may be wrong."""
        self._behind_s = here = self.platform.clock.monotonic() - now
        self.prepared_until = here + lease.warm_until
        if created and not lease.external:
            self.deadline = here + created + lease.max_lifetime_s

    def google_now(self) -> float:
        """GCS's time, by the last answer about the lease."""
        return self.platform.clock.monotonic() - self._behind_s

    def run(self, spec: Spec, cancel: threading.Event) -> Iterator[frames.Frame]:
        """Starts the attempt, or finds it started, and gives its frames from its log's beginning."""
        assert self._transport is not None
        if self._link is None:
            self._link = agent_link.session(self._transport, self.agent, self.label)
        self._link.send(spec)
        return self._link.frames(cancel)

    @contextlib.contextmanager
    def follow(
        self, job_id: str, attempt: int, offset: int, cancel: threading.Event
    ) -> Iterator[Iterator[frames.Frame]]:
        """Frames of an attempt that was started on an earlier connection."""
        assert self._transport is not None
        link = agent_link.follow(self._transport, self.agent, job_id, attempt, offset, self.label)
        with contextlib.closing(link):
            yield link.frames(cancel)

    def stop(self, job_id: str, attempt: int, reason: str) -> bool:
        """Ends an attempt's processes on the worker; whether it could be reached for that."""
        if self._transport is None or not self.connected:
            return False
        agent_link.stop(self._transport, self.agent, job_id, attempt, reason, self.label)
        return True

    def refresh(self) -> None:
        """Learns what the agent said while nobody listened. ConnectError where the connection is lost."""
        if self._link is None:
            self.holding = False
        else:
            for frame in self._link.pending():
                self.heard(frame)

    def heard(self, frame: frames.Frame) -> None:
        """What the agent says of the lease."""
        if frame.kind == frames.RELEASED:
            self.holding = False
        elif frame.kind in (frames.PHASE, frames.LOG, frames.OUTCOME):
            self.token = ""

    def hang_up(self) -> None:
        """Ends the agent's session, which gives the lease back once nothing runs; the connection stays."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
            self.holding = False

    def close(self) -> None:
        self.hang_up()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()


class Sessions:
    """The idle sessions of this process. Thread-safe. A forked child starts with none: connections are not shared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._pid = os.getpid()
        self._inherited: list[Session] = []  # of the parent: one that is collected would write to the parent's socket

    def take(self, request: NodeRequest, fits: Callable[[Lease, NodeRequest], bool], name: str = "") -> Session | None:
        """An idle session whose node fits, or is the one called `name`, and is ours again; dead ones are dropped on
        the way."""

        def suits(session: Session) -> bool:
            if name:
                return _is_called(session, name, request)
            return fits(session.lease, request) and _lives(session, request)

        while (session := self._pop(suits)) is not None:
            with contextlib.suppress(ConnectError):
                session.refresh()
                holder = session.lease.holder
                if session.connected and (session.holding or session.take_again(holder, request.job)):
                    return session
            session.close()
        return None

    def _pop(self, suits: Callable[[Session], bool]) -> Session | None:
        with self._lock:
            if self._pid != os.getpid():
                self._inherited += self._idle
                self._idle, self._pid = [], os.getpid()
            for session in reversed(self._idle):
                if suits(session):
                    self._idle.remove(session)
                    return session
        return None

    def put(self, session: Session) -> None:
        """For the next call. Its lease is the agent's to release when that does not come soon."""
        with self._lock:
            self._idle = [each for each in self._idle if each.connected]
            self._idle.append(session)


def _is_called(session: Session, name: str, request: NodeRequest) -> bool:
    lease = session.lease
    key = lease.resource.removeprefix(f"{lease.platform}-") if lease.standing else lease.resource
    named = name in (lease.resource, session.node.name, key) and lease.zone in request.zones
    return named and lease.accelerator == request.accelerator


def _lives(session: Session, request: NodeRequest) -> bool:
    left_s = session.deadline - session.platform.clock.monotonic()
    return left_s > request.lifetime_needed_s(session.lease.max_lifetime_s)


@functools.cache
def sessions_of(platform: Platform) -> Sessions:
    """One per platform in use."""
    return Sessions()
