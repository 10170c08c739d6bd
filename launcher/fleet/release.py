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
    while True:
        try:
            lease_book.condemn(platform.store, zone, resource, reason, by=by)
            break
        except LeaseRefused:
            if lease_book.read(platform.store, zone, resource) is not None:
                raise
            break
        except CloudError:
            if poll.expired:
                raise
        poll.pause()
    return delete(platform, zone, resource, timeout_s=timeout_s)


def delete(platform: Platform, zone: str, resource: str, *, timeout_s: float) -> bool:
    """Asks for the deletion of a condemned queued resource until it is gone; False when `timeout_s` passed first.

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
                asked_at = clock.monotonic()
            if platform.nodes.get_queued_resource(zone, resource) is None:
                return True
        except Unavailable as exc:
            outage = exc
        if poll.expired:
            if outage is not None:
                raise outage
            return False
        poll.pause()
