"""Condemn, then delete, and ask again until the queued resource is gone."""

from __future__ import annotations

from launcher.cloud.retry import Deadline
from launcher.errors import CloudError
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform
from launcher.records.leases import LeaseRefused

_ASK_AGAIN_S = 15.0  # a deletion takes Google one to three minutes
_POLL_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def release(platform: Platform, zone: str, resource: str, *, by: str, reason: str, timeout_s: float) -> bool:
    """Condemns the lease and deletes the queued resource with its nodes; True once it is seen gone.

    LeaseRefused where somebody else holds the lease. Where GCS cannot be reached to condemn, the holder deletes
    all the same: a lease that it holds can be taken by nobody (an expired one is only ever condemned).
    """
    try:
        lease_book.condemn(platform.store, zone, resource, reason, by=by)
    except LeaseRefused:
        if lease_book.read(platform.store, zone, resource) is not None:
            raise
    except CloudError:
        if not by:
            raise
    return delete(platform, zone, resource, timeout_s=timeout_s)


def delete(platform: Platform, zone: str, resource: str, *, timeout_s: float) -> bool:
    """Asks for the deletion of a condemned queued resource until it is gone; False when `timeout_s` passed first."""
    deadline = Deadline(platform.clock, timeout_s)
    asked_at = -_ASK_AGAIN_S
    for step in range(1_000_000):
        now = platform.clock.monotonic()
        if now - asked_at >= _ASK_AGAIN_S or step == 0:
            platform.nodes.delete_queued_resource(zone, resource)
            asked_at = now
        if platform.nodes.get_queued_resource(zone, resource) is None:
            return True
        if deadline.expired:
            break
        platform.clock.wait(min(_POLL_S[min(step, len(_POLL_S) - 1)], max(deadline.remaining(), 0.01)))
    return False
