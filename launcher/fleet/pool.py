"""Nodes that exist already: find a warm one that fits and take its lease, or the one that a call names."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Collection

from launcher import keys
from launcher.accelerators import list_price
from launcher.cloud.seams import Node, Progress, QueuedResource
from launcher.errors import CloudError, ConfigError, Conflict, PermissionDenied, Unavailable, WorkerLost
from launcher.fleet import lease_book
from launcher.fleet.parallel import parallel
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.fleet.rules import stands_for
from launcher.records import paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState, reserve
from launcher.records.policy import POOL_LABEL, is_ours
from launcher.records.swap import Stored

_PARALLEL = 16


@dataclasses.dataclass(frozen=True)
class Taken:
    """A node whose lease is ours now, HELD by the client, since `now` by GCS's clock."""

    lease: Lease
    node: Node
    now: float


def fits(lease: Lease, request: NodeRequest) -> bool:
    """Whether the node of a lease is what the request asks for, by all but its lifetime."""
    spot_too = request.spot and (request.spot_fallback or lease.standing)
    everybodys = lease.standing or request.shared
    in_pool = lease.standing or not request.pools or lease.labels.get(POOL_LABEL) in request.pools
    return (
        not lease.external
        and lease.platform == request.platform
        and lease.accelerator == request.accelerator
        and lease.zone in request.zones
        and lease.runtime_version == request.runtime_version
        and (lease.spot == request.spot or (spot_too and not lease.spot))
        and request.labels.items() <= lease.labels.items()
        and (lease.owner == request.owner or everybodys)
        and in_pool
    )


def find_warm(platform: Platform, request: NodeRequest, holder: str, but: Collection[str] = ()) -> Taken | None:
    """Takes a WARM node that fits and is READY, or None. What turns out to be broken is condemned and deleted. `but`:
    queued resources that will not do."""
    for lease, seen in _warm(platform, request):
        if lease.resource in but:
            continue
        with contextlib.suppress(LeaseRefused):  # somebody else was quicker, or it is going away
            taken = lease_book.change(
                platform.store, lease.zone, lease.resource, lambda it, stored: _take(it, stored, request, holder)
            )
            try:
                node = platform.nodes.get_node(taken.zone, paths.node_id(taken.resource))
            except CloudError:
                with contextlib.suppress(CloudError):  # nobody renews it: it expires, and is reaped
                    give_back(platform, taken, holder)
                raise
            if node is not None and node.state == "READY":
                return Taken(taken, node, seen.now)
            words = "is gone" if node is None else f"is {node.state}"
            with contextlib.suppress(CloudError):  # condemned: the reaper and its own timer go on with it
                release(platform, taken.zone, taken.resource, by=holder, reason=f"its node {words}", timeout_s=0.0)
    return None


def _warm(platform: Platform, request: NodeRequest) -> list[tuple[Lease, Stored]]:
    """Leases of warm nodes that fit: in the order of the request's zones, the one that was used last first.

    CloudError where no zone can be listed: there may be a warm node, and a new one costs more than it has to.
    """
    prefix = f"{request.platform}-"

    def ours(each: QueuedResource) -> bool:
        labelled = each.labels.get("launcher-platform") == request.platform
        # Its label says whose it is too: a lease is what a job can write, and secrets go there.
        owned = request.shared or each.labels.get("launcher-owner", request.owner) == request.owner
        return labelled and owned and each.name.startswith(prefix) and each.state == "ACTIVE"

    refused: list[CloudError] = []

    def look(zone: str) -> list[tuple[str, str]]:
        try:
            return [(zone, each.name) for each in platform.nodes.list_queued_resources(zone) if ours(each)]
        except (PermissionDenied, Unavailable) as exc:
            refused.append(exc)
            if len(refused) == len(request.zones):
                raise
            return []

    named = [each for found in parallel(look, request.zones, _PARALLEL) for each in found]
    read = parallel(lambda pair: lease_book.read(platform.store, *pair), named, _PARALLEL)
    found = [each for each in read if each is not None]
    warm = [each for each in found if each[0].state is LeaseState.WARM and _usable(*each, request)]
    warm.sort(key=lambda each: (request.zones.index(each[0].zone), -each[1].updated))
    return warm


def _usable(lease: Lease, stored: Stored, request: NodeRequest) -> bool:
    left_s = lease.created + lease.max_lifetime_s - stored.now
    return fits(lease, request) and left_s > request.lifetime_needed_s(lease.max_lifetime_s)


def _take(lease: Lease, stored: Stored, request: NodeRequest, holder: str) -> Lease:
    if lease.state is not LeaseState.WARM or not _usable(lease, stored, request):
        raise LeaseRefused(f"{lease.resource} is not free any more")
    keep_warm_s = request.keep_warm_s or lease.keep_warm_s
    return dataclasses.replace(lease.hold(holder, "client", job=request.job), keep_warm_s=keep_warm_s)


def find_standing(platform: Platform, request: NodeRequest, holder: str, but: Collection[str] = ()) -> Taken | None:
    """Takes a node of Terraform's that fits, is READY and not in use, or None. One that is not is left alone."""
    nodes = platform.file.nodes if platform.file else ()
    fitting = [each for each in nodes if stands_for(each, request) and each.resource not in but]
    for each in sorted(fitting, key=lambda each: request.zones.index(each.zone)):
        # Refused, lost: in use, or being deleted. Not readable: the next one, or a new one, may be.
        with contextlib.suppress(LeaseRefused, WorkerLost, CloudError):
            node = platform.nodes.get_node(each.zone, each.node)
            if node is None or node.state != "READY":
                continue
            left_s = node.create_time + each.max_lifetime_s - platform.store.time()
            if left_s > request.lifetime_needed_s(each.max_lifetime_s):
                return _take_named(platform, each.zone, each.resource, node, request, holder)
    return None


def find_named(
    platform: Platform,
    name: str,
    request: NodeRequest,
    holder: str,
    progress: Progress,
    cancel: threading.Event,
) -> Taken:
    """Takes the node called `name`, of the fleet or not; it is never the call's to delete.

    Conflict where somebody uses it, at once or, with a wait_timeout_s, when that has passed. ConfigError where there is
    none, or it is another accelerator.
    """
    zone, node = _named(platform, name, request)
    resource = node.queued_resource or node.name
    poll = Poll(platform.clock, timeout_s=request.wait_timeout_s or 0.0, cancel=cancel)
    while True:
        try:
            return _take_named(platform, zone, resource, node, request, holder)
        except LeaseRefused as exc:
            if poll.expired:
                raise Conflict(
                    f"Node {name} in {zone} is in use ({exc}). To wait for it give wait_timeout_s=…; to end what runs "
                    f"there: launcher nodes down {resource} --force"
                ) from exc
            progress.phase("wait", f"{zone}: waiting for node {name}: {exc}")
        poll.pause()


def _take_named(platform: Platform, zone: str, resource: str, node: Node, request: NodeRequest, holder: str) -> Taken:
    read: list[Stored] = []
    standing = platform.file.standing(zone, resource) if platform.file else None
    first = reserve(
        resource=resource,
        zone=zone,
        platform=request.platform,
        owner=request.owner,
        holder=holder,
        accelerator=node.accelerator,
        spot=node.spot,
        external=not is_ours(resource, node.labels, request.platform),
        ttl_s=platform.profile.lease_ttl_s,
        runtime_version=node.runtime_version,
        usd_per_hour=list_price(node.accelerator, zone, node.spot),
        created=node.create_time,
    )
    if standing is not None:
        first = standing.within(first)

    def step(lease: Lease, stored: Stored) -> Lease:
        read.append(stored)
        if standing and lease.outlived(stored.updated, node.create_time):
            lease = first  # Terraform has made the node anew
        if lease.state is LeaseState.CONDEMNED:
            raise WorkerLost(f"Node {node.name} in {zone} is being deleted: {lease.reason}")
        if lease.state is not LeaseState.WARM and lease.holder != holder:
            dead = lease.expired_as(stored)
            if not (dead and lease.external):
                job = f", job {lease.job}" if lease.job else ""
                raise LeaseRefused(f"{lease.state.value} by {lease.holder}{job}{', which is dead' if dead else ''}")
        held = lease.hold(holder, "client", job=request.job, expired=lease.expired_as(stored))
        return standing.within(held) if standing else held

    if lease_book.read(platform.store, zone, resource) is None:
        with contextlib.suppress(Conflict):  # somebody else's first call came a moment earlier
            lease_book.create(platform.store, first)
    return Taken(lease_book.change(platform.store, zone, resource, step), node, read[-1].now)


def _named(platform: Platform, name: str, request: NodeRequest) -> tuple[str, Node]:
    for zone, node in parallel(lambda zone: (zone, _node(platform, zone, name)), request.zones, _PARALLEL):
        if node is None:
            continue
        if node.state != "READY":
            raise WorkerLost(f"Node {name} in {zone} is {node.state}, not READY: it cannot be used now")
        if node.accelerator != request.accelerator:
            raise ConfigError(
                f"Node {name} in {zone} is a {node.accelerator}, the call asks for {request.accelerator}: "
                f"give accelerator={node.accelerator!r}"
            )
        return zone, node
    raise ConfigError(
        f"There is no node {name} in {', '.join(request.zones)}. Another zone: zone=…; what is there: launcher nodes"
    )


def _node(platform: Platform, zone: str, name: str) -> Node | None:
    """The node of that name, or the one of the queued resource of that name; of Terraform's also by its key there."""
    standing = platform.file.named(zone, name) if platform.file else None
    if standing is not None:
        return platform.nodes.get_node(zone, standing.node)
    return platform.nodes.get_node(zone, name) or platform.nodes.get_node(zone, paths.node_id(name))


def let_in(platform: Platform, taken: Taken, owner: str) -> bool:
    """Puts this machine's SSH key on the node, unless it is there; whether it was put. We hold the node's lease, so
    nobody else changes its metadata."""
    wanted = keys.ssh_keys_metadata(owner, keys.key_pair(platform.profile.name))["ssh-keys"]
    present = taken.node.metadata.get("ssh-keys", "")
    if wanted in present.splitlines():
        return False
    # A queued resource of Terraform's has no metadata: without the second its host keys cannot be told.
    merged = {"enable-guest-attributes": "TRUE", **taken.node.metadata}
    merged["ssh-keys"] = "\n".join(filter(None, [present, wanted]))
    platform.nodes.set_metadata(taken.lease.zone, taken.node.name, merged)
    return True


def give_back(platform: Platform, lease: Lease, holder: str) -> None:
    """A node that the client took and does not use: WARM again. What its worker has taken over, that lets go."""
    with contextlib.suppress(LeaseRefused):  # the worker has it, or somebody wants it gone
        lease_book.change(platform.store, lease.zone, lease.resource, lambda it, _: _free(it, holder))


def _free(lease: Lease, holder: str) -> Lease:
    if lease.writer == "worker":
        raise LeaseRefused(f"{lease.resource} is its worker's to let go")
    held = lease if lease.state is LeaseState.HELD else lease.hold(holder, "client")
    return held.release(holder)
