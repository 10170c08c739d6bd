"""How a person gets rid of one node."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Mapping

from launcher.errors import ConfigError, Conflict, Unavailable
from launcher.fleet import lease_book
from launcher.fleet.inventory import look
from launcher.fleet.platform import Platform
from launcher.fleet.release import delete
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.policy import POOL_LABEL, is_ours
from launcher.records.swap import Stored, swap

_DELETE_TIMEOUT_S = 600.0  # Google takes one to three minutes


@dataclasses.dataclass(frozen=True)
class _Found:
    """`made`: when, of a node of Terraform's: its id is used again. `shared`: its warm node is everybody's."""

    zone: str
    resource: str
    shared: bool
    made: float | None = None


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
    ConfigError: there is no such node, or it is not this platform's. Conflict: somebody else uses or owns it and
    `force` is not set. Unavailable: it is still being deleted.
    """
    node = _find(platform, name)
    zone, resource = node.zone, node.resource
    try:
        job_id = _give_up(platform, node, force=force, cancel_job=cancel_job, tell=tell)
    except LeaseRefused as exc:
        raise Conflict(f"Node {resource} was taken this moment: {exc}. Look again: launcher nodes list") from exc
    tell(f"deleting node {resource} in {zone}")
    if not delete(platform, zone, resource, timeout_s=_DELETE_TIMEOUT_S, standing=node.made is not None):
        raise Unavailable(
            f"Node {resource} is still being deleted after {_DELETE_TIMEOUT_S:g} s. Look again: launcher nodes list"
        )
    return resource, zone, job_id


def _give_up(
    platform: Platform,
    node: _Found,
    *,
    force: bool,
    cancel_job: Callable[[str], object],
    tell: Callable[[str], object],
) -> str:
    """Makes the lease CONDEMNED by whatever its state needs; the job that was cancelled for it, or ""."""
    me, zone, resource, made = platform.profile.owner, node.zone, node.resource, node.made
    reason = f"deleted by {me}"
    found = lease_book.read(platform.store, zone, resource)
    if found is None or (made is not None and found[0].outlived(found[1].updated, made)):
        # Every creator writes its lease first, so nobody is about to use this one; the tombstone keeps it so. One of
        # Terraform's has no creator who does, and a lease of the node before it keeps nobody away.
        lease = Lease(resource, zone, platform.profile.platform, me, LeaseState.CONDEMNED, "", "", reason=reason)
        lease = dataclasses.replace(lease, standing=made is not None, created=made or 0.0)
        generation = found[1].generation if found else 0
        if swap(platform.store, paths.lease(zone, resource), codec.encode(lease), generation) is None:
            raise LeaseRefused("somebody wrote its lease")
        return ""
    lease, stored = found
    if lease.external:
        raise ConfigError(_not_ours(platform, resource, zone))
    job_id = ""
    if _is_live(lease, stored):
        if lease.holder.partition("@")[0] == me:
            job_id = _end_own_job(lease, cancel_job, tell)
        elif not force:
            raise Conflict(_in_use(lease))
        _drain_now(platform, zone, resource, reason)
    elif lease.state is LeaseState.WARM and lease.owner != me and not (force or node.shared):
        raise Conflict(
            f"Node {resource} is kept warm for {lease.owner}. "
            f"To delete it all the same: launcher nodes down {resource} --force"
        )
    lease_book.condemn(platform.store, zone, resource, reason, by="")
    return job_id


def _end_own_job(lease: Lease, cancel_job: Callable[[str], object], tell: Callable[[str], object]) -> str:
    """Cancels what the caller's own session runs on the node; its job id, or "" where it runs nothing."""
    owner, _, rest = lease.job.partition("/")
    job_id = rest.partition("/")[0]
    if job_id:
        tell(f"cancelling job {job_id}, which uses the node")
        cancel_job(f"{owner}/{job_id}")
    return job_id


def _in_use(lease: Lease) -> str:
    job = f", which runs {lease.job.rpartition('/')[0]}" if lease.job else ""
    return (
        f"Node {lease.resource} is in use by {lease.holder}{job} ({lease.state.value}). "
        f"To end it all the same: launcher nodes down {lease.resource} --force"
    )


def _is_live(lease: Lease, stored: Stored) -> bool:
    """Whether somebody may be using the node: only its holder may give it up then."""
    try:
        lease.condemn("", by="", updated=stored.updated, now=stored.now)
    except LeaseRefused:
        return lease.state is not LeaseState.CONDEMNED
    return False


def _drain_now(platform: Platform, zone: str, resource: str, reason: str) -> None:
    """DRAINING with a deadline that has come: whoever holds it is told, and anybody may condemn it."""

    def step(lease: Lease, stored: Stored) -> Lease:
        if not _is_live(lease, stored):
            raise LeaseRefused("free already")  # or being deleted: there is nobody to tell
        return lease.drain(stored.now, reason)

    with contextlib.suppress(LeaseRefused):
        lease_book.change(platform.store, zone, resource, step)


def _find(platform: Platform, name: str) -> _Found:
    """Our queued resource called `name`, or whose node is; or a node of Terraform's."""
    ours: list[str] = []
    foreign = ""
    for zone in look(platform):
        standing = platform.file.named(zone.name, name) if platform.file else None
        made = {each.name: each.create_time for each in zone.resources}
        made |= {each.name: each.create_time for each in zone.nodes}
        if standing and standing.resource in made:
            return _Found(zone.name, standing.resource, True, made.get(standing.node) or made[standing.resource])
        for resource in zone.resources:
            if is_ours(resource.name, resource.labels, platform.profile.platform):
                ours.append(resource.name)
                if name in (resource.name, *resource.nodes):
                    return _Found(zone.name, resource.name, _is_shared(platform, resource.labels))
            elif name in (resource.name, *resource.nodes):
                foreign = zone.name
        if name in (node.name for node in zone.nodes):
            foreign = foreign or zone.name
    raise ConfigError(_not_ours(platform, name, foreign) if foreign else _no_such_node(platform, name, ours))


def _is_shared(platform: Platform, labels: Mapping[str, str]) -> bool:
    pool = platform.file.pools.get(labels.get(POOL_LABEL, "")) if platform.file else None
    return platform.profile.shared_pool or (pool is not None and pool.shared)


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
