"""What this platform has right now, and how a person gets rid of one node."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from launcher.accelerators import hourly_usd, parse
from launcher.cloud.seams import Node, QueuedResource
from launcher.errors import ConfigError, Conflict, Unavailable
from launcher.fleet import lease_book
from launcher.fleet.acquire import NODE_STATES, QUEUED_RESOURCE_STATES, READY, WAIT
from launcher.fleet.platform import Platform
from launcher.fleet.release import delete
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.paths import JOB_ID, LEASES
from launcher.records.swap import Stored

_PARALLEL = 8
_DELETE_TIMEOUT_S = 600.0  # Google takes one to three minutes
_UNKNOWN = (WAIT, "in a state this version does not know")


@dataclasses.dataclass(frozen=True)
class NodeInfo:
    """One queued resource of this platform with its nodes and its lease.

    `state` is the API's, `words` the same for people. `lease_state` is None where there is no lease, `expired`
    whether its holder is late. `created` in epoch seconds. `usd_per_hour`: list price, None where unknown.
    """

    name: str
    zone: str
    nodes: tuple[str, ...]
    accelerator: str
    spot: bool
    state: str
    words: str
    owner: str
    lease_state: LeaseState | None
    holder: str
    expired: bool
    created: float
    usd_per_hour: float | None

    @property
    def lease_words(self) -> str:
        """State and holder; without the holder where it is the attempt that the node is named after."""
        if self.lease_state is None:
            return "none"
        job, _, attempt = self.holder.rpartition("/")
        in_name = self.name.endswith(f"-{job}-a{attempt}")
        tell = self.holder and not in_name and self.lease_state is not LeaseState.CONDEMNED
        return f"{self.lease_state.value}{f' by {self.holder}' if tell else ''}{', expired' if self.expired else ''}"


def list_nodes(platform: Platform) -> tuple[NodeInfo, ...]:
    """Every queued resource with this platform's label and prefix, oldest first.

    Looks in the profile's zones and wherever a lease says that a node was asked for. CloudError when one zone
    cannot be listed: a part of the list would pass for all of it.
    """
    ours = [(zone, each) for zone in _look(platform) for each in zone.resources if _is_ours(platform, each)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda pair: _info(platform, *pair), ours))
    return tuple(sorted(found, key=lambda each: (each.created, each.name)))


def delete_node(
    platform: Platform,
    name: str,
    *,
    force: bool,
    cancel_job: Callable[[str], object],
    tell: Callable[[str], object],
) -> tuple[str, str, str]:
    """Condemns and deletes the queued resource called `name` (or that has the node called so); seen gone on return.

    Its own name, its zone, and the caller's job that had it and was cancelled, or "".

    A live job of the caller's is ended through `cancel_job(job_id)` first. `tell` gets a line before slow steps.
    ConfigError: there is no such node, or it is not this platform's. Conflict: somebody else's job uses it and
    `force` is not set. Unavailable: it is still being deleted.
    """
    zone, resource = _find(platform, name)
    job_id = ""
    try:
        job_id = _give_up(platform, zone, resource, force=force, cancel_job=cancel_job, tell=tell)
    except LeaseRefused as exc:
        raise Conflict(f"Node {resource} was taken this moment: {exc}. Look again: launcher nodes list") from exc
    tell(f"deleting node {resource} in {zone}")
    if not delete(platform, zone, resource, timeout_s=_DELETE_TIMEOUT_S):
        raise Unavailable(
            f"Node {resource} is still being deleted after {_DELETE_TIMEOUT_S:g} s. Look again: launcher nodes list"
        )
    return resource, zone, job_id


def _give_up(
    platform: Platform,
    zone: str,
    resource: str,
    *,
    force: bool,
    cancel_job: Callable[[str], object],
    tell: Callable[[str], object],
) -> str:
    """Makes the lease CONDEMNED by whatever its state needs; the job that was cancelled for it, or ""."""
    owner = platform.profile.owner
    reason = f"deleted by {owner}"
    found = lease_book.read(platform.store, zone, resource)
    if found is None:
        # Every creator writes its lease first, so nobody is about to use this one; the tombstone keeps it so.
        lease = Lease(resource, zone, platform.profile.platform, owner, LeaseState.CONDEMNED, "", "", reason=reason)
        lease_book.create(platform.store, lease)
        return ""
    lease, stored = found
    job_id = lease.holder.rpartition("/")[0]
    if _is_live(lease, stored):
        if lease.owner == owner and JOB_ID.fullmatch(job_id):
            tell(f"cancelling job {job_id}, which uses the node")
            cancel_job(job_id)
            lease_book.condemn(platform.store, zone, resource, reason, by=lease.holder)
            return job_id
        if not force:
            raise Conflict(
                f"Node {resource} is in use by {lease.holder} of {lease.owner} ({lease.state.value}). "
                f"To end it all the same: launcher nodes down {resource} --force"
            )
        _drain_now(platform, zone, resource, reason)
    lease_book.condemn(platform.store, zone, resource, reason, by="")
    return ""


def _is_live(lease: Lease, stored: Stored) -> bool:
    """Whether somebody may be using the node: only its holder may give it up then."""
    try:
        lease.condemn("", by="", updated=stored.updated, now=stored.now)
    except LeaseRefused:
        return lease.state is not LeaseState.CONDEMNED
    return False


def _drain_now(platform: Platform, zone: str, resource: str, reason: str) -> None:
    """DRAINING with a deadline that has come: whoever holds it is told, and anybody may condemn it."""
    with contextlib.suppress(LeaseRefused):  # it is DRAINING or CONDEMNED already, and no later than now
        lease_book.change(platform.store, zone, resource, lambda lease, stored: lease.drain(stored.now, reason))


@dataclasses.dataclass(frozen=True)
class _Zone:
    """All that the API lists in one zone, ours or not."""

    name: str
    resources: tuple[QueuedResource, ...]
    nodes: tuple[Node, ...]


def _look(platform: Platform) -> list[_Zone]:
    leased = [each.name[len(LEASES) :].rstrip("/") for each in platform.store.list(LEASES, delimiter="/")]

    def look(zone: str) -> _Zone:
        resources = tuple(platform.nodes.list_queued_resources(zone))
        return _Zone(zone, resources, tuple(platform.nodes.list_nodes(zone)))

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(look, dict.fromkeys([*platform.profile.zones, *leased])))


def _is_ours(platform: Platform, resource: QueuedResource) -> bool:
    name = platform.profile.platform
    return resource.labels.get("launcher-platform") == name and resource.name.startswith(f"{name}-")


def _info(platform: Platform, zone: _Zone, resource: QueuedResource) -> NodeInfo:
    found = lease_book.read(platform.store, zone.name, resource.name)
    lease, stored = found or (None, None)
    nodes = [each for each in zone.nodes if each.name in resource.nodes]
    accelerator = next((each.accelerator for each in nodes), "") or (lease.accelerator if lease else "")
    return NodeInfo(
        name=resource.name,
        zone=zone.name,
        nodes=resource.nodes,
        accelerator=accelerator,
        spot=resource.spot,
        state=resource.state,
        words=_words(resource, nodes),
        owner=resource.labels.get("launcher-owner", "") or (lease.owner if lease else ""),
        lease_state=lease.state if lease else None,
        holder=lease.holder if lease else "",
        expired=lease.expired_as(stored) if lease and stored else False,
        created=resource.create_time,
        usd_per_hour=_price(accelerator, zone.name, resource.spot),
    )


def _words(resource: QueuedResource, nodes: list[Node]) -> str:
    """The state for people: of the node where it exists, as that is what can be used."""
    reaction, words = QUEUED_RESOURCE_STATES.get(resource.state, _UNKNOWN)
    if reaction == READY and nodes:
        words = NODE_STATES.get(nodes[0].state, _UNKNOWN)[1]
    words = words.removesuffix(" by somebody else")  # that is for one who waits for the node
    return f"{words}: {resource.reason}" if resource.reason else words


def _price(accelerator: str, zone: str, spot: bool) -> float | None:
    try:
        return hourly_usd(parse(accelerator), zone, spot)
    except ConfigError:  # a type that this version does not know
        return None


def _find(platform: Platform, name: str) -> tuple[str, str]:
    """Zone and id of our queued resource called `name`, or whose node is."""
    zones = _look(platform)
    ours: list[str] = []
    foreign = ""
    for zone in zones:
        for resource in zone.resources:
            if _is_ours(platform, resource):
                ours.append(resource.name)
                if name in (resource.name, *resource.nodes):
                    return zone.name, resource.name
            elif name in (resource.name, *resource.nodes):
                foreign = zone.name
        if name in (node.name for node in zone.nodes):
            foreign = foreign or zone.name
    raise ConfigError(_not_ours(platform, name, foreign) if foreign else _no_such_node(platform, name, ours))


def _not_ours(platform: Platform, name: str, zone: str) -> str:
    return (
        f"{name} in {zone} was not made by platform {platform.profile.platform}, so the launcher does not touch it. "
        f"List what it may delete: launcher nodes list"
    )


def _no_such_node(platform: Platform, name: str, ours: list[str]) -> str:
    profile = platform.profile
    near = difflib.get_close_matches(name, ours, 3, 0.5) or [each for each in ours if name in each][:3]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Platform {profile.platform} (profile {profile.name}) has no node {name}.{hint} See: launcher nodes list"
