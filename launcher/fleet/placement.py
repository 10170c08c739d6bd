"""Where an attempt runs: on a node that this process uses already, on a warm one, on the one it names, or on a new one.

Each node that is tried is recorded as an intent; for one that is made, before any cloud call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable

from launcher.cloud.seams import Progress
from launcher.errors import CloudError, Conflict, QuotaExceeded
from launcher.fleet import freeze, pool, room
from launcher.fleet.acquire import Try, acquire
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.connect import CONNECT_TIMEOUT_S
from launcher.fleet.lease_book import Renewal
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.request import NodeRequest, of_job
from launcher.fleet.room import PoolFull
from launcher.fleet.session import Session, Sessions, new_holder
from launcher.records import codec
from launcher.records.jobs import Intent, JobRecord
from launcher.records.paths import JobPaths, queued_resource_id
from launcher.records.swap import create_once, same_token

_WARM_CONNECT_S = 60.0  # it has been up for a while
_GONE_WITHIN_S = 10 * 60.0  # a deletion takes Google one to three minutes
_ROOM_S = 20.0  # between two looks at a pool that is full


@dataclasses.dataclass
class Placement:
    """Finds nodes for one attempt, one after another. Owned by the engine's thread.

    `intent`: of a node that may exist and is this attempt's to release. `session`: on it, once there is one.
    """

    platform: Platform
    job: JobRecord
    agent: AgentFile
    sessions: Sessions
    progress: Progress
    cancel: threading.Event
    check_wanted: Callable[[], None]
    timings_s: dict[str, float]
    intent: Intent | None = None
    session: Session | None = None

    def __post_init__(self) -> None:
        self.holder = ""
        self._number = 0  # of the last intent
        self._waited_s = 0.0  # for room in a pool
        self._taken: set[str] = set()  # warm nodes that were taken, and are not taken again
        self._left: tuple[Try, ...] = ()  # in zones that did not answer; their leases are condemned

    def get(self) -> Session:
        """A session on a node whose lease is ours: one of this process, a warm one, or a new one."""
        request = room.share(self.platform, of_job(self.job, 1))
        started = self.platform.clock.monotonic()
        freeze.check(self.platform)  # a session that is used without a pause would never become idle
        self.holder, self._waited_s = new_holder(self.job.owner), 0.0
        session = self.sessions.take(request, pool.fits, self.job.node)
        if session is None:
            session = self._take_or_create(request)
        else:
            self.session, self.holder = session, session.lease.holder
            self._record(session.lease.zone, session.lease.resource, session.node.name, "warm, in use here before")
        if self._waited_s:
            self.timings_s["wait"] = self.timings_s.get("wait", 0.0) + self._waited_s
        self.timings_s["connect"] = self.platform.clock.monotonic() - started - self.timings_s.get("wait", 0.0)
        return session

    def _take_or_create(self, request: NodeRequest) -> Session:
        """Waits where the pool is full: for as long as the call does, or until what is being deleted is gone. What
        becomes warm meanwhile is taken."""
        clock = self.platform.clock
        started = clock.monotonic()
        poll = Poll(clock, timeout_s=request.wait_timeout_s or _GONE_WITHIN_S, longest_s=_ROOM_S, cancel=self.cancel)
        while True:
            session = self._take(request)
            if session is not None:
                return session
            left_s = None
            if request.wait_timeout_s is not None:
                left_s = max(request.wait_timeout_s - (clock.monotonic() - started), 1.0)
            try:
                return self._create(dataclasses.replace(request, wait_timeout_s=left_s))
            except PoolFull as exc:
                self.intent = None  # nothing was asked for, and its lease is condemned
                if poll.expired or not (request.wait_timeout_s or exc.leaving):
                    raise QuotaExceeded(str(exc)) from exc
                self.progress.phase("wait", f"waiting for room: {str(exc).partition('. ')[0]}")
            paused = clock.monotonic()
            poll.pause()
            self._waited_s += clock.monotonic() - paused
            self.progress.phase("waited")

    def _take(self, request: NodeRequest) -> Session | None:
        """The node that the job names, a warm one, or one of Terraform's."""
        if self.job.node:
            taken = pool.find_named(self.platform, self.job.node, request, self.holder, self.progress, self.cancel)
        else:
            found = pool.find_warm(self.platform, request, self.holder, self._taken)
            found = found or pool.find_standing(self.platform, request, self.holder, self._taken)
            if found is None:
                return None
            self._taken.add(found.lease.resource)
            taken = found
        session = self.session = Session(self.platform, self.agent, taken.lease, taken.node, self.job.owner)
        with Renewal(self.platform.store, taken.lease, self.platform.clock) as renewal:
            standing = "Terraform's" if taken.lease.standing else "warm"
            why = "named by the call" if self.job.node else standing
            self._record(taken.lease.zone, taken.lease.resource, taken.node.name, why)
            self.check_wanted()
            self.progress.phase("connect", f"{'' if self.job.node else f'{standing} node '}{taken.node.name}")
            new_key = pool.let_in(self.platform, taken, self.job.owner)
            if not taken.lease.host_keys:
                session.learn(self.job.hosts, self.cancel)
            timeout_s = CONNECT_TIMEOUT_S if new_key else _WARM_CONNECT_S
            session.connect(self.cancel, timeout_s=timeout_s, tell=self.progress.notice)
            renewal.stop()  # the agent recognises the lease by the token of the last write
            if taken.lease.host_keys:
                session.adopt(renewal.lease, taken.now)
            else:
                session.hold(self.holder)
        return session

    def _create(self, request: NodeRequest) -> Session:
        clock = self.platform.clock
        started = clock.monotonic()
        before = self._number
        job = self.job
        request = dataclasses.replace(
            request, resource_id=lambda number: queued_resource_id(job.platform, job.job_id, 1, before + number)
        )

        def on_try(found: Try) -> None:
            self._record(found.zone, found.queued_resource, found.node, found.why, made=True, spot=found.spot)

        granted = acquire(self.platform, request, self.holder, self.progress, self.cancel, on_try, self.check_wanted)
        self._left = granted.left
        with contextlib.closing(granted):
            self.timings_s["wait"] = clock.monotonic() - started
            session = Session(self.platform, self.agent, granted.lease, granted.node, job.owner)
            self.session = session
            self.progress.phase("connect", granted.node.name)
            session.learn(job.hosts, self.cancel)
            session.connect(self.cancel, tell=self.progress.notice)
            granted.renewal.stop()
            session.hold(self.holder, created=granted.node.create_time)
        return session

    def sweep(self) -> None:
        """Asks once more for the deletion of what may have been made where no answer came. Their leases see to the
        rest."""
        for each in self._left:
            with contextlib.suppress(CloudError):
                self.platform.nodes.delete_queued_resource(each.zone, each.queued_resource)

    def _record(self, zone: str, resource: str, node: str, why: str, *, made: bool = False, spot: bool = False) -> None:
        """The next intent. For a node that is made: before any cloud call."""
        self._number += 1
        intent = Intent(
            self.job.job_id,
            1,
            zone,
            resource,
            node,
            why,
            time.time(),
            number=self._number,
            holder=self.holder,
            made=made,
            spot=spot,
        )
        self.intent = intent
        data = codec.encode(intent)
        name = JobPaths(self.job.owner, self.job.job_id).intent(1, self._number)
        if not same_token(create_once(self.platform.store, name, data), data):
            raise Conflict(f"attempt 1 of job {self.job.job_id} was started by another process already")
