"""What this platform has right now, who uses it, and when it will go."""

from __future__ import annotations

import dataclasses

from launcher.accelerators import list_price
from launcher.cloud.seams import Node, QueuedResource
from launcher.errors import PermissionDenied
from launcher.fleet import lease_book
from launcher.fleet.costs import clock_words, span_words
from launcher.fleet.parallel import parallel
from launcher.fleet.platform import Platform
from launcher.fleet.waiting import NODE_STATES, QUEUED_RESOURCE_STATES, READY, WAIT
from launcher.records.leases import Lease, LeaseState
from launcher.records.paths import LEASES
from launcher.records.paths import lease as lease_name
from launcher.records.policy import NodeFacts, PolicySettings, QueuedFacts, Reap, is_ours, verdict
from launcher.records.swap import Stored

_PARALLEL = 8
_UNKNOWN = (WAIT, "in a state this version does not know")
_SOON_S = 3600.0  # the end of its lifetime is worth a word then, though the node is in use
_NEXT_PASS = "at the next pass of the idle shutdown"


@dataclasses.dataclass(frozen=True)
class NodeInfo:
    """One queued resource of this platform with its nodes and its lease, a node of Terraform's, or an external node
    that has a lease.

    `state` is the API's, `words` the same for people. `lease_state` is None where there is no lease, `expired`
    whether its holder is late. `goes`: when it will go, in words; `reason`: the idle shutdown's, of that. Times in
    epoch seconds by Google's clock, of which `now` is the present; None where there is none.
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
    job: str
    expired: bool
    external: bool
    standing: bool
    created: float | None
    idle_since: float | None
    goes_at: float | None
    goes: str
    reason: str
    usd_per_hour: float | None
    now: float

    @property
    def user(self) -> str:
        """The holder as people say it, `ada@laptop`; nobody where it is being deleted."""
        return "" if self.lease_state is LeaseState.CONDEMNED else self.holder.partition(":")[0]

    @property
    def overdue(self) -> bool:
        """Whether the idle shutdown may take it now."""
        return self.goes == _NEXT_PASS

    @property
    def goes_why(self) -> str:
        """`goes`, with its reason where that is not the plain course of things."""
        tell = self.overdue or self.lease_state in (LeaseState.DRAINING, LeaseState.CONDEMNED)
        return f"{self.goes}: {self.reason}" if tell else self.goes


def list_nodes(platform: Platform) -> tuple[NodeInfo, ...]:
    """Every queued resource with this platform's label and prefix, every node of Terraform's that platform.json
    registers, and every external node that was used; oldest first.

    Looks in the profile's zones and wherever a lease says that a node was asked for. CloudError when one zone
    cannot be listed: a part of the list would pass for all of it.
    """
    leased = _leased(platform)
    zones = look(platform, leased)
    name = platform.profile.platform
    registered = platform.file.nodes if platform.file else ()
    wanted: list[tuple[Zone, str, QueuedResource | None, list[Node]]] = []
    for zone in zones:
        standing = {each.resource for each in registered if each.zone == zone.name}
        ours = [each for each in zone.resources if each.name in standing or is_ours(each.name, each.labels, name)]
        wanted += [(zone, it.name, it, [node for node in zone.nodes if node.name in it.nodes]) for it in ours]
        made = {name for each in ours for name in each.nodes}
        wanted += [
            (zone, resource, None, [node])
            for node in zone.nodes
            if node.name not in made
            and (
                (resource := node.queued_resource or node.name) in standing or lease_name(zone.name, resource) in leased
            )
        ]
    found = [each for each in parallel(lambda it: _info(platform, *it), wanted, _PARALLEL) if each is not None]
    return tuple(sorted(found, key=lambda each: (each.created or 0.0, each.name)))


@dataclasses.dataclass(frozen=True)
class Zone:
    """All that the API lists in one zone, ours or not."""

    name: str
    resources: tuple[QueuedResource, ...]
    nodes: tuple[Node, ...]


def look(platform: Platform, leased: set[str] | None = None) -> list[Zone]:
    """The profile's zones, and every zone that has a lease. `leased`: names of the leases, where they are known."""
    names = _leased(platform) if leased is None else leased

    def one(zone: str) -> Zone:
        try:
            resources = tuple(platform.nodes.list_queued_resources(zone))
            return Zone(zone, resources, tuple(platform.nodes.list_nodes(zone)))
        except PermissionDenied:
            if zone in platform.profile.zones:
                raise
            return Zone(zone, (), ())  # refused there alone: a call named a zone that there is not

    zones = [*platform.profile.zones, *sorted(name[len(LEASES) :].partition("/")[0] for name in names)]
    return list(parallel(one, dict.fromkeys(zones), _PARALLEL))


def _leased(platform: Platform) -> set[str]:
    return {each.name for each in platform.store.list(LEASES)}


def _info(
    platform: Platform, zone: Zone, name: str, resource: QueuedResource | None, nodes: list[Node]
) -> NodeInfo | None:
    """None where the lease of a node that is not ours is not one of an external node."""
    found = lease_book.read(platform.store, zone.name, name)
    node, shown = (nodes[0] if nodes else None), resource or nodes[0]
    standing = platform.file.standing(zone.name, name) if platform.file else None
    settings = platform.profile.policy
    if standing is not None:
        settings = standing.unleased(settings)
        outlived = found is not None and found[0].outlived(found[1].updated, shown.create_time)
        found = (standing.within(found[0]), found[1]) if found and not outlived else None
    lease, stored = found or (None, None)
    others = lease is None or not lease.external or lease.platform != platform.profile.platform
    if resource is None and standing is None and others:
        return None
    accelerator = (node.accelerator if node else "") or (lease.accelerator if lease else "")
    now = stored.now if stored else platform.store.time()
    if standing is not None and found is None:
        going = _unused(settings, node, now)
    else:
        going = _going(settings, node, found, resource, now)
    return NodeInfo(
        name=shown.name,
        zone=zone.name,
        nodes=tuple(each.name for each in nodes) or (resource.nodes if resource else ()),
        accelerator=accelerator,
        spot=shown.spot,
        state=shown.state,
        words=_words(resource, node),
        owner=shown.labels.get("launcher-owner", "") or (lease.owner if lease else ""),
        lease_state=lease.state if lease else None,
        holder=lease.holder if lease else "",
        job=lease.job if lease else "",
        expired=lease.expired_as(stored) if lease and stored else False,
        external=lease.external if lease else False,
        standing=standing is not None,
        created=_created(node, resource, lease) or None,
        idle_since=_idle_since(lease, stored),
        goes_at=going.at,
        goes=going.words,
        reason=going.reason,
        usd_per_hour=(lease.usd_per_hour if lease else None) or list_price(accelerator, zone.name, shown.spot),
        now=now,
    )


def _words(resource: QueuedResource | None, node: Node | None) -> str:
    """The state for people: of the node where it exists, as that is what can be used."""
    reaction, words = (READY, "") if resource is None else QUEUED_RESOURCE_STATES.get(resource.state, _UNKNOWN)
    if reaction == READY and node is not None:
        words = NODE_STATES.get(node.state, _UNKNOWN)[1]
    words = words.removesuffix(" by somebody else")  # that is for one who waits for the node
    return f"{words}: {resource.reason}" if resource is not None and resource.reason else words


def _created(node: Node | None, resource: QueuedResource | None, lease: Lease | None) -> float:
    """From when its age counts: of the node itself, where there is one."""
    times = (
        node.create_time if node else 0.0,
        lease.created if lease else 0.0,
        resource.create_time if resource else 0.0,
    )
    return next(filter(None, times), 0.0)


def _idle_since(lease: Lease | None, stored: Stored | None) -> float | None:
    """When it was released, or its holder was last heard of."""
    if lease is None or stored is None or lease.state is LeaseState.CONDEMNED:
        return None
    return stored.updated if lease.state is LeaseState.WARM or lease.expired_as(stored) else None


@dataclasses.dataclass(frozen=True)
class _Going:
    words: str
    at: float | None = None
    reason: str = ""


def _unused(settings: PolicySettings, node: Node | None, now: float) -> _Going:
    """Of a node of Terraform's that no call has used yet."""
    if node is None:
        return _Going("never, while it waits for hardware")
    at = node.create_time + min(settings.grace_s, settings.max_lifetime_s)
    if now >= at:
        return _Going(_NEXT_PASS, now, f"no call has used it for {span_words(now - node.create_time)}")
    return _Going(f"{clock_words(at, now)} (in {span_words(at - now)})", at, "no call has used it yet")


def _going(
    settings: PolicySettings,
    node: Node | None,
    found: tuple[Lease, Stored] | None,
    resource: QueuedResource | None,
    now: float,
) -> _Going:
    """When the idle shutdown will take it, by the rule that it goes by itself."""
    lease, updated = (found[0], found[1].updated) if found else (None, 0.0)
    if lease is not None and lease.external:
        return _Going("never (not ours)")
    judged = verdict(
        NodeFacts(node.name, node.state, node.create_time, node.labels) if node else None,
        (lease, updated) if lease else None,
        QueuedFacts(resource.name, resource.state, resource.create_time, resource.labels) if resource else None,
        now,
        settings,
    )
    if (lease is not None and lease.state is LeaseState.CONDEMNED) or (resource and resource.state == "DELETING"):
        return _Going("being deleted", reason=judged.reason.removeprefix("condemned: "))
    if isinstance(judged, Reap):
        return _Going(_NEXT_PASS, now, judged.reason)
    if lease is None:
        return _Going("soon, unless somebody claims it", reason=judged.reason)
    if lease.state is LeaseState.DRAINING:
        return _Going(clock_words(lease.deadline, now), lease.deadline, judged.reason)
    end = node.create_time + lease.max_lifetime_s if node and node.create_time else None
    if lease.state is not LeaseState.WARM:
        words = "in use" if lease.state is LeaseState.HELD else "waited for"
        soon = f", until {clock_words(end, now)} at most" if end and end < now + _SOON_S else ""
        return _Going(words + soon, end, judged.reason)
    at = min(lease.idle_at(updated), end or float("inf"))
    return _Going(f"{clock_words(at, now)} (in {span_words(at - now)})", at, judged.reason)
