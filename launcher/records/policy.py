"""When a node is to go: the one rule of the launcher, `launcher reap`, the idle-shutdown function and the guard.

A verdict follows from what the Cloud TPU API lists, from the lease, and from Google's clock. Nothing else counts: no
metric, no name, no time of this machine. The lease decides where there is one; whoever acts on a verdict condemns
(or drains) that very generation of it first, so that a holder who came back meanwhile wins.
"""

from __future__ import annotations

import dataclasses
import enum

from launcher.records.leases import KEEP_WARM_S, MAX_LIFETIME_S, TTL_S, Lease, LeaseState

PLATFORM_LABEL = "launcher-platform"
POOL_LABEL = "launcher-pool"


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """Seconds, all of them. A forgotten node is gone within idle_s + 10 min by the function alone, and within
    idle_s + 20 min by the node's own timer alone."""

    idle_s: float = KEEP_WARM_S
    grace_s: float = 10 * 60.0  # from the first READY until a node without a lease counts as forgotten
    ttl_s: float = TTL_S
    margin_s: float = 10 * 60.0  # how much later than the function the node's own timer acts
    max_lifetime_s: float = MAX_LIFETIME_S
    interval_s: float = 5 * 60.0  # between two passes of the function
    drain_s: float = 5 * 60.0  # what a holder gets to end its job


@dataclasses.dataclass(frozen=True)
class NodeFacts:
    """A node as the API lists it. create_time in epoch seconds, 0 where the API named none."""

    name: str
    state: str
    create_time: float
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class QueuedFacts:
    """A queued resource as the API lists it; `nodes` and `labels` are those of its node spec."""

    name: str
    state: str
    create_time: float
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Keep:
    reason: str


@dataclasses.dataclass(frozen=True)
class Reap:
    """Condemn, then delete; with `drain`, only tell the holder to be gone: a later pass condemns."""

    reason: str
    drain: bool = False


class _Is(enum.Enum):
    """What a state means for somebody who wonders whether the node may go."""

    WAITING = "waits for hardware"
    CHANGING = "is on its way to another state"  # never idle; max_lifetime still holds
    USABLE = "can be used"
    GOING = "is being deleted"
    DEAD = "can no longer be used"  # and still counts against the quota
    UNKNOWN = "is in a state this version does not know"


_QUEUED_RESOURCE = {
    "STATE_UNSPECIFIED": _Is.UNKNOWN,
    "CREATING": _Is.WAITING,
    "ACCEPTED": _Is.WAITING,
    "WAITING_FOR_RESOURCES": _Is.WAITING,
    "PROVISIONING": _Is.CHANGING,
    "ACTIVE": _Is.USABLE,
    "SUSPENDING": _Is.CHANGING,
    "SUSPENDED": _Is.DEAD,
    "FAILED": _Is.DEAD,
    "DELETING": _Is.GOING,
}
_NODE = {
    "STATE_UNSPECIFIED": _Is.UNKNOWN,
    "CREATING": _Is.CHANGING,
    "READY": _Is.USABLE,
    "RESTARTING": _Is.CHANGING,
    "REIMAGING": _Is.CHANGING,
    "DELETING": _Is.GOING,
    "REPAIRING": _Is.CHANGING,
    "STOPPED": _Is.DEAD,
    "STOPPING": _Is.CHANGING,
    "STARTING": _Is.CHANGING,
    "PREEMPTED": _Is.DEAD,
    "TERMINATED": _Is.DEAD,
    "HIDING": _Is.CHANGING,
    "HIDDEN": _Is.DEAD,
    "UNHIDING": _Is.CHANGING,
    "UNKNOWN": _Is.UNKNOWN,
}


def is_ours(name: str, labels: dict[str, str], platform: str) -> bool:
    """Whether a queued resource (or a node that stands alone) was made by this platform: label and id both say so.
    Nothing else is ever touched."""
    return labels.get(PLATFORM_LABEL) == platform and name.startswith(f"{platform}-")


def verdict(
    node: NodeFacts | None,
    lease: tuple[Lease, float] | None,
    queued_resource: QueuedFacts | None,
    now: float,
    settings: PolicySettings,
) -> Keep | Reap:
    """What is to happen with one thing of ours. `lease`: the lease and when it was written; `now`: GCS's clock.

    Without node and queued resource it is about the lease alone: Reap then condemns it, with nothing to delete.
    """
    if lease is not None and lease[0].external:
        return Keep("it was not made by the launcher")
    if node is None and queued_resource is None:
        return Keep("there is nothing") if lease is None else _orphan_lease(*lease, now)
    state, is_ = _condition(node, queued_resource)
    if lease is not None and lease[0].state is LeaseState.CONDEMNED:
        return Reap(f"condemned: {lease[0].reason}")
    started = _started(node, queued_resource, is_)
    limit_s = settings.max_lifetime_s if lease is None else lease[0].max_lifetime_s
    if started and now >= started + limit_s:
        return _past_lifetime(lease, now, settings, f"older than its max_lifetime of {_words(limit_s)}")
    if lease is not None:
        return _leased(*lease, now, state, is_)
    return _unleased(node, queued_resource, now, settings, state, is_)


def frozen_verdict(
    node: NodeFacts | None,
    lease: tuple[Lease, float] | None,
    queued_resource: QueuedFacts | None,
    now: float,
    settings: PolicySettings,
    *,
    reason: str,
    drain_busy: bool,
) -> Keep | Reap:
    """As verdict, for a fleet whose budget is used up: nothing stays warm, and with `drain_busy` nothing stays."""
    decided = verdict(node, lease, queued_resource, now, settings)
    if isinstance(decided, Reap) or lease is None or lease[0].external:
        return decided
    if lease[0].state is LeaseState.WARM:
        return Reap(reason)
    if drain_busy and lease[0].state in (LeaseState.RESERVED, LeaseState.HELD):
        return Reap(reason, drain=True)
    return decided


def _condition(node: NodeFacts | None, queued_resource: QueuedFacts | None) -> tuple[str, _Is]:
    """The state that counts, and what it means: the node's where its queued resource is ACTIVE or gone."""
    if queued_resource is not None:
        is_ = _QUEUED_RESOURCE.get(queued_resource.state, _Is.UNKNOWN)
        if is_ is not _Is.USABLE or node is None:
            return queued_resource.state, is_
    assert node is not None  # verdict saw to it
    return node.state, _NODE.get(node.state, _Is.UNKNOWN)


def _started(node: NodeFacts | None, queued_resource: QueuedFacts | None, is_: _Is) -> float:
    """From when max_lifetime counts: createTime of the node, or of a queued resource that is past waiting."""
    if node is not None and node.create_time:
        return node.create_time
    return 0.0 if queued_resource is None or is_ is _Is.WAITING else queued_resource.create_time


def _past_lifetime(lease: tuple[Lease, float] | None, now: float, settings: PolicySettings, why: str) -> Keep | Reap:
    if lease is None or _nobody_uses(*lease, now):
        return Reap(why)
    if lease[0].state is LeaseState.DRAINING and lease[0].deadline <= now + settings.drain_s:
        return Keep(f"{why}: draining, its holder has {_words(lease[0].deadline - now)} left")
    return Reap(why, drain=True)


def _nobody_uses(lease: Lease, updated: float, now: float) -> bool:
    drained = lease.state is LeaseState.DRAINING and now >= lease.deadline
    return lease.state is LeaseState.WARM or drained or lease.expired(updated, now)


def _leased(lease: Lease, updated: float, now: float, state: str, is_: _Is) -> Keep | Reap:
    if lease.expired(updated, now):
        return Reap(f"{_holder(lease)} has not renewed its lease for {_words(now - updated)}")
    if lease.state is LeaseState.DRAINING:
        if now >= lease.deadline:
            return Reap(f"drained: {lease.reason}")
        return Keep(f"draining, its holder has {_words(lease.deadline - now)} left: {lease.reason}")
    if lease.state is not LeaseState.WARM:
        # Also where it is FAILED or SUSPENDED: who renews the lease is there to handle that, or it will expire.
        return Keep(f"{lease.state.value} by {_holder(lease)}")
    if is_ in (_Is.DEAD, _Is.GOING):
        return Reap(f"{state}: it {is_.value}, and nobody holds it")
    idle_at = lease.idle_at(updated)
    if now >= idle_at:
        return Reap(f"unused for {_words(now - updated)}")
    return Keep(f"warm for another {_words(idle_at - now)}")


def _unleased(
    node: NodeFacts | None,
    queued_resource: QueuedFacts | None,
    now: float,
    settings: PolicySettings,
    state: str,
    is_: _Is,
) -> Keep | Reap:
    if is_ is _Is.DEAD:
        return Reap(f"{state} and without a lease: it {is_.value}")
    if is_ not in (_Is.WAITING, _Is.USABLE):
        return Keep(f"{state}: it {is_.value}")
    facts = [each for each in (node, queued_resource) if each is not None]
    since = facts[0].create_time
    if not since:
        return Keep(f"{state} and without a lease, created at a time that the API does not tell")
    if now < since + settings.grace_s:
        return Keep(f"{state} and without a lease for {_words(now - since)} at most: it may be just coming")
    return Reap(f"{state} and without a lease, created {_words(now - since)} ago")


def _orphan_lease(lease: Lease, updated: float, now: float) -> Keep | Reap:
    """A lease that has no queued resource: not asked for yet, or gone already."""
    if lease.state is LeaseState.CONDEMNED:
        return Keep("condemned and gone")
    # WARM, written just now: the list of queued resources may be older than that.
    if lease.state is LeaseState.WARM and now < updated + lease.ttl_s:
        return Keep("written just now")
    if _nobody_uses(lease, updated, now):
        return Reap("its queued resource is gone")
    return Keep(f"{lease.state.value} by {_holder(lease)}")


def _holder(lease: Lease) -> str:
    return lease.holder or "nobody"


def _words(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
