"""Condemn, then delete, and ask again until the queued resource is gone."""

from __future__ import annotations

from launcher.errors import CloudError, Unavailable
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform, Poll
from launcher.records.leases import LeaseRefused

_ASK_AGAIN_S = 15.0  # a deletion takes Google one to three minutes


def release(platform: Platform, zone: str, resource: str, *, by: str, reason: str, timeout_s: float) -> bool:
    """Condemns the lease and deletes the queued resource with its nodes; True once it is seen gone.

    LeaseRefused where somebody else holds the lease. Nothing is deleted that was not condemned: a worker may have given
    the lease back unheard, and somebody else taken it. CloudError where GCS cannot be reached for so long.
    """
    poll = Poll(platform.clock, timeout_s=timeout_s, longest_s=_ASK_AGAIN_S)
    standing = False
    while True:
        try:
            standing = lease_book.condemn(platform.store, zone, resource, reason, by=by).standing
            break
        except LeaseRefused:
            if lease_book.read(platform.store, zone, resource) is not None:
                raise
            break
        except CloudError:
            if poll.expired:
                raise
        poll.pause()
    return delete(platform, zone, resource, timeout_s=timeout_s, standing=standing)


def delete(platform: Platform, zone: str, resource: str, *, timeout_s: float, standing: bool = False) -> bool:
    """Asks for the deletion of a condemned queued resource until it is gone; False when `timeout_s` passed first.
    `standing`: a node of Terraform's, which may be one that has no queued resource.

    An outage of the API ends this no sooner, but is raised then.
    """
    clock = platform.clock
    poll = Poll(clock, timeout_s=timeout_s, longest_s=2.0)
    asked_at: float | None = None
    while True:
        outage: Unavailable | None = None
        try:
            if asked_at is None or clock.monotonic() - asked_at >= _ASK_AGAIN_S:
                platform.nodes.delete_queued_resource(zone, resource)
                if standing:
                    platform.nodes.delete_node(zone, resource)
                asked_at = clock.monotonic()
            gone = platform.nodes.get_queued_resource(zone, resource) is None
            if gone and not (standing and platform.nodes.get_node(zone, resource)):
                return True
        except Unavailable as exc:
            outage = exc
        if poll.expired:
            if outage is not None:
                raise outage
            return False
        poll.pause()
