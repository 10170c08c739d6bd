"""The lease: which attempt may use a queued resource, and until when. A pure state machine.

    RESERVED -> HELD -> WARM -> HELD …        any -> DRAINING(deadline) -> CONDEMNED(reason)

The record is keyed by what can be deleted and guarded by its GCS generation. Expiry is counted by GCS's clock
alone: the object's `updated` plus `ttl_s`, against the Date of the same answer. One named writer at a time: the
client until it hands over, then worker 0 of slice 0.
"""

from __future__ import annotations

import dataclasses
import enum

from launcher.records.paths import new_token
from launcher.records.swap import Stored

TTL_S = 300.0
RENEW_S = 60.0
STOP_MARGIN_S = 60.0  # a worker stops its runner this long before its lease can have expired


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
    """leases/<zone>/<id>.json. `holder` is `<job id>/<attempt>`; times are epoch seconds by GCS's clock."""

    resource: str  # queued resource id
    zone: str
    platform: str
    owner: str
    state: LeaseState
    holder: str
    writer: str  # "client" or "worker": who renews it now
    accelerator: str = ""
    spot: bool = False
    ttl_s: float = TTL_S
    deadline: float = 0.0  # DRAINING: when the holder must be gone
    reason: str = ""  # DRAINING and CONDEMNED: why
    host_keys: tuple[dict[str, str], ...] = ()  # per worker, pinned at first contact, before any job ran
    token: str = dataclasses.field(default_factory=new_token)

    def _next(self, **changes: object) -> Lease:
        return dataclasses.replace(self, token=new_token(), **changes)  # type: ignore[arg-type]

    def hold(self, holder: str, writer: str) -> Lease:
        """RESERVED by the same holder, or WARM -> HELD. The holder may also hand over to another writer."""
        mine = self.state in (LeaseState.RESERVED, LeaseState.HELD) and self.holder == holder
        if not mine and self.state is not LeaseState.WARM:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not free for {holder}")
        return self._next(state=LeaseState.HELD, holder=holder, writer=writer)

    def renew(self, holder: str) -> Lease:
        """The same lease, written again: its time to live starts anew. DRAINING may be renewed until its deadline."""
        alive = (LeaseState.RESERVED, LeaseState.HELD, LeaseState.DRAINING)
        if self.state not in alive or self.holder != holder:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not held by {holder}")
        return self._next()

    def release(self, holder: str) -> Lease:
        """HELD by this holder -> WARM: free for the next attempt."""
        if self.state is not LeaseState.HELD or self.holder != holder:
            raise LeaseRefused(f"{self.resource} is {self.state.value} by {self.holder}, not held by {holder}")
        return self._next(state=LeaseState.WARM, holder="", writer="")

    def drain(self, deadline: float, reason: str) -> Lease:
        """Any live state -> DRAINING: the holder is told to be gone by `deadline`. A deadline only moves closer."""
        sooner = self.state is LeaseState.DRAINING and deadline < self.deadline
        if self.state in (LeaseState.DRAINING, LeaseState.CONDEMNED) and not sooner:
            raise LeaseRefused(f"{self.resource} is {self.state.value} already: {self.reason}")
        return self._next(state=LeaseState.DRAINING, deadline=deadline, reason=reason)

    def condemn(self, reason: str, *, by: str, updated: float, now: float) -> Lease:
        """-> CONDEMNED: nobody may use the node again. Its holder may always do it; others only what nobody
        uses: WARM, expired, or DRAINING past its deadline. `updated`, `now`: of the answer that was read."""
        if self.state is LeaseState.CONDEMNED:
            raise LeaseRefused(f"{self.resource} is CONDEMNED already: {self.reason}")
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


def reserve(*, resource: str, zone: str, platform: str, owner: str, holder: str, accelerator: str, spot: bool) -> Lease:
    """The first state of a lease, created (ifGenerationMatch=0) before its queued resource is."""
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
    )
