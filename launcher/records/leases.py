"""The lease: who may use a queued resource, and until when. A pure state machine.

    RESERVED -> HELD -> WARM -> HELD …        any -> DRAINING(deadline) -> CONDEMNED(reason)

The record is keyed by what can be deleted and guarded by its GCS generation. Expiry is counted by GCS's clock
alone: the object's `updated` plus `ttl_s`, against the Date of the same answer. One named writer at a time: the
client until it hands over, then worker 0 of slice 0.

A holder is a client session (or a detached driver's) that runs attempts one after another: while it holds the lease,
its next attempt writes none. An EXTERNAL node is not the launcher's to delete: its lease is never condemned, and
one that expired is free again, for its workers have stopped their runner before that.
"""

from __future__ import annotations

import dataclasses
import enum

from launcher.records.paths import new_token
from launcher.records.swap import Stored

TTL_S = 300.0
RENEW_S = 60.0
STOP_MARGIN_S = 60.0  # a worker stops its runner this long before its lease can have expired
KEEP_WARM_S = 15 * 60.0
MAX_LIFETIME_S = 24 * 3600.0


class LeaseState(str, enum.Enum):
    RESERVED = "RESERVED"
    HELD = "HELD"
    WARM = "WARM"
    DRAINING = "DRAINING"
    CONDEMNED = "CONDEMNED"


class LeaseRefused(Exception):
    """The transition is not allowed from the lease's present state; the message names state and holder."""


@dataclasses.dataclass(frozen=True)
class Lease:
    """leases/<zone>/<id>.json. Times are epoch seconds by Google's clocks.

    `owner` is whose node it is; `holder` the session that may use it now, "" for nobody; `job` what that session runs,
    as `<owner>/<job id>/<attempt>`, as of the last write.
    """

    resource: str  # queued resource id; the node's where it stands alone
    zone: str
    platform: str
    owner: str
    state: LeaseState
    holder: str
    writer: str  # "client" or "worker": who renews it now
    job: str = ""
    accelerator: str = ""
    spot: bool = False
    runtime_version: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    external: bool = False
    standing: bool = False  # Terraform's, registered in platform.json: for everybody, and its id is used again
    ttl_s: float = TTL_S
    keep_warm_s: float = KEEP_WARM_S  # how long it may be WARM
    warm_until: float = 0.0  # a node that was prepared ahead is not idle before
    max_lifetime_s: float = MAX_LIFETIME_S  # from the API's createTime
    usd_per_hour: float | None = None  # list price when it was asked for
    reserved: float = 0.0  # when its first version was written; 0 in that version
    created: float = 0.0  # the API's createTime, once known
    ready: float = 0.0  # when it was first seen READY
    busy_s: float = 0.0  # how long jobs have run on it
    deadline: float = 0.0  # DRAINING: when the holder must be gone
    reason: str = ""  # DRAINING and CONDEMNED: why
    host_keys: tuple[dict[str, str], ...] = ()  # per worker, pinned at first contact, before any job ran
    hostnames: tuple[str, ...] = ()  # per worker: instance names, for proxy commands
    token: str = dataclasses.field(default_factory=new_token)

    def _next(self, **changes: object) -> Lease:
        return dataclasses.replace(self, token=new_token(), **changes)  # type: ignore[arg-type]

    def hold(self, holder: str, writer: str, *, job: str | None = None, expired: bool = False) -> Lease:
        """RESERVED by the same holder, or WARM -> HELD. The holder may also hand over to another writer.

        `expired`: as read just now. Only an external node's expired lease can be taken.
        """
        mine = self.state in (LeaseState.RESERVED, LeaseState.HELD) and self.holder == holder
        free = self.state is LeaseState.WARM or (self.external and expired)
        if not mine and not free:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not free for {holder}")
        job = self.job if job is None else job
        return self._next(state=LeaseState.HELD, holder=holder, writer=writer, job=job, deadline=0.0, reason="")

    def renew(self, holder: str) -> Lease:
        """The same lease, written again: its time to live starts anew. DRAINING may be renewed until its deadline."""
        alive = (LeaseState.RESERVED, LeaseState.HELD, LeaseState.DRAINING)
        if self.state not in alive or self.holder != holder:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not held by {holder}")
        return self._next()

    def release(self, holder: str) -> Lease:
        """HELD by this holder -> WARM: free for the next session."""
        if self.state is not LeaseState.HELD or self.holder != holder:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not held by {holder}")
        return self._next(state=LeaseState.WARM, holder="", writer="", job="")

    def drain(self, deadline: float, reason: str) -> Lease:
        """Any live state -> DRAINING: the holder is told to be gone by `deadline`. A deadline only moves closer."""
        sooner = self.state is LeaseState.DRAINING and deadline < self.deadline
        if self.state is LeaseState.CONDEMNED or (self.state is LeaseState.DRAINING and not sooner):
            raise LeaseRefused(f"{self.resource} is {self.state.value} already: {self.reason}")
        return self._next(state=LeaseState.DRAINING, deadline=deadline, reason=reason)

    def condemn(self, reason: str, *, by: str, updated: float, now: float) -> Lease:
        """-> CONDEMNED: nobody may use the node again. Its holder may always do it; others only what nobody
        uses: WARM, expired, or DRAINING past its deadline. `updated`, `now`: of the answer that was read."""
        if self.state is LeaseState.CONDEMNED:
            raise LeaseRefused(f"{self.resource} is CONDEMNED already: {self.reason}")
        if self.external:
            raise LeaseRefused(f"{self.resource} was not made by the launcher, so it is not deleted")
        drained = self.state is LeaseState.DRAINING and now >= self.deadline
        free = self.state is LeaseState.WARM or drained or self.expired(updated, now)
        if by != self.holder and not free:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, which is alive")
        return self._next(state=LeaseState.CONDEMNED, reason=reason, writer="")

    def expired(self, updated: float, now: float) -> bool:
        """Whether nobody renewed in time. WARM and CONDEMNED leases have no holder that could be late."""
        return self.state not in (LeaseState.WARM, LeaseState.CONDEMNED) and now >= updated + self.ttl_s

    def expired_as(self, stored: Stored) -> bool:
        return self.expired(stored.updated, stored.now)

    def outlived(self, updated: float, created: float) -> bool:
        """Whether it is about an earlier node of the same name than the one that was created at `created`: an id of
        Terraform's is used again."""
        return (self.created or updated) < created

    def idle_at(self, updated: float) -> float:
        """When a WARM lease that was written at `updated` has been unused for too long."""
        return max(updated + self.keep_warm_s, self.warm_until)


def reserve(
    *, resource: str, zone: str, platform: str, owner: str, holder: str, accelerator: str, spot: bool, **more: object
) -> Lease:
    """The first state of a lease, created (ifGenerationMatch=0) before its queued resource is. `more`: its fields."""
    return Lease(
        resource,
        zone,
        platform,
        owner,
        LeaseState.RESERVED,
        holder,
        "client",
        accelerator=accelerator,
        spot=spot,
        **more,  # type: ignore[arg-type]
    )
