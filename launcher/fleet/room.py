"""Whether a pool of the platform has room for one more node: `max_nodes` is never exceeded, whoever asks at once."""

from __future__ import annotations

import contextlib
import dataclasses
import math

from launcher.cloud.seams import QueuedResource
from launcher.errors import CloudError, ConfigError, QuotaExceeded
from launcher.fleet import lease_book
from launcher.fleet.parallel import parallel
from launcher.fleet.platform import Platform
from launcher.fleet.request import NodeRequest
from launcher.fleet.rules import may_raise
from launcher.records import paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.platform import Pool
from launcher.records.policy import PLATFORM_LABEL, POOL_LABEL
from launcher.records.swap import Stored

_PARALLEL = 16
_NO_HARDWARE = ("FAILED", "SUSPENDED")  # states of a queued resource that takes up nothing but quota


class PoolFull(QuotaExceeded):
    """No further node of a pool is allowed now. `leaving`: enough of its nodes are being deleted to wait for that."""

    leaving = False


def share(platform: Platform, request: NodeRequest) -> NodeRequest:
    """The request as the pools have it: whether warm nodes of other owners will do."""
    file = platform.file
    pools = [file.pools[name] for name in request.pools if name in file.pools] if file else []
    shared = platform.profile.shared_pool or (bool(pools) and all(pool.shared for pool in pools))
    return dataclasses.replace(request, shared=shared)


def pool_of(platform: Platform, request: NodeRequest, spot: bool) -> Pool | None:
    """The pool that a new node belongs to, None where the platform has none. ConfigError where none allows it."""
    file = platform.file
    if file is None or not file.pools:
        return None
    name = request.pools[0 if spot == request.spot else -1] if request.pools else ""
    if name not in file.pools:
        gone = (
            f"pool {name!r} is no longer there" if name else "no pool allows such a node, and none that stands is free"
        )
        raise ConfigError(
            f"{request.accelerator} on platform {file.platform}: {gone}. Its pools: {', '.join(sorted(file.pools))}; "
            "an operator of the platform can change tpu_pools in Terraform."
        )
    return file.pools[name]


def admit(platform: Platform, pool: Pool | None, lease: Lease) -> None:
    """Whether the node of a lease that was just created may be asked for. PoolFull where not; it is condemned then.

    Of several that reserve at once, those give way whose leases came last, so that `max_nodes` is never exceeded.
    """
    if pool is None:
        return
    try:
        check_room(platform, pool, lease)
    except PoolFull as exc:
        with contextlib.suppress(CloudError, LeaseRefused):  # nobody renews it: it expires
            lease_book.condemn(platform.store, lease.zone, lease.resource, str(exc), by=lease.holder)
        raise


@dataclasses.dataclass(frozen=True)
class _Member:
    """A node of the pool that is there, or will be: a queued resource, or a live lease that comes before it."""

    zone: str
    resource: str
    state: str
    lease: Lease | None
    reserved: float = 0.0

    @property
    def going(self) -> bool:
        return self.state == "DELETING" or (self.lease is not None and self.lease.state is LeaseState.CONDEMNED)

    @property
    def words(self) -> str:
        lease = self.lease
        if self.going or lease is None:
            what = "being deleted" if self.going else self.state
        elif lease.state is LeaseState.WARM:
            what = f"warm, of {lease.owner}"
        else:
            used = "waited for" if lease.state is LeaseState.RESERVED else "in use"
            what = f"{used} by {lease.holder.partition(':')[0]}"
        return f"{self.resource} in {self.zone} ({what})"


def check_room(platform: Platform, pool: Pool | None, mine: Lease | None = None) -> None:
    """PoolFull where as many nodes as the pool may have come before `mine`, or, without it, before any new one."""
    if pool is None:
        return
    zones = parallel(lambda zone: _members(platform, pool, zone), pool.zones, _PARALLEL)
    members = [each for found in zones for each in found]
    own = next((each.reserved for each in members if mine and each.resource == mine.resource), math.inf)
    # A queued resource is there already. Of those that are not, the lease that came first counts.
    ahead = [
        each
        for each in members
        if mine is None
        or (each.resource != mine.resource and (each.state or (each.reserved, each.resource) < (own, mine.resource)))
    ]
    if len(ahead) < pool.max_nodes:
        return
    known = [each if each.lease else dataclasses.replace(each, lease=_lease(platform, each)) for each in ahead]
    full = PoolFull(
        f"pool {pool.name!r} of platform {platform.profile.platform} has {len(ahead)} of {pool.max_nodes} nodes: "
        f"{', '.join(each.words for each in known)}. Wait for one with wait_timeout_s=…, end one with launcher nodes "
        f"down NAME. {may_raise(pool, 'max_nodes')}"
    )
    full.leaving = sum(not each.going for each in known) < pool.max_nodes
    raise full


def _members(platform: Platform, pool: Pool, zone: str) -> list[_Member]:
    """Those in one zone. Leases first: each is created before its queued resource."""
    store, ttl_s = platform.store, platform.profile.lease_ttl_s
    leases = {
        info.name.removeprefix(paths.zone_leases(zone)).removesuffix(".json"): info
        for info in store.list(paths.zone_leases(zone))
    }
    listed = list(platform.nodes.list_queued_resources(zone))
    members = [_Member(zone, each.name, each.state, None) for each in listed if _is_in(pool, platform, each)]
    now = store.time()
    made = {each.name for each in listed}
    for name, info in leases.items():
        if name in made or now >= info.updated + ttl_s:
            continue  # an older one is nobody's any more
        found = lease_book.read(store, zone, name)
        if found is not None and _is_coming(pool, *found):
            members.append(_Member(zone, name, "", found[0], found[0].reserved or found[1].updated))
    return members


def _is_in(pool: Pool, platform: Platform, resource: QueuedResource) -> bool:
    ours = resource.labels.get(PLATFORM_LABEL) == platform.profile.platform
    return ours and resource.labels.get(POOL_LABEL) == pool.name and resource.state not in _NO_HARDWARE


def _is_coming(pool: Pool, lease: Lease, stored: Stored) -> bool:
    """Whether the lease, whose queued resource is not there, announces one."""
    waits = lease.state not in (LeaseState.WARM, LeaseState.CONDEMNED) and not lease.expired_as(stored)
    return waits and lease.labels.get(POOL_LABEL) == pool.name


def _lease(platform: Platform, member: _Member) -> Lease | None:
    found = lease_book.read(platform.store, member.zone, member.resource)
    return found[0] if found else None
