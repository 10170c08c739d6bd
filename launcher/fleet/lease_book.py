"""Leases in the bucket, as the client writes them: reserve, hand over, renew, condemn."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from launcher.cloud.seams import Clock
from launcher.errors import CloudError, Conflict
from launcher.fleet import job_records
from launcher.records import codec, paths
from launcher.records.leases import RENEW_S, Lease, LeaseRefused, LeaseState
from launcher.records.swap import RecordStore, Stored, swap

_SWAP_TRIES = 8  # each lost race means that somebody else wrote; there are two writers at most at a time


def read(store: RecordStore, zone: str, resource: str) -> tuple[Lease, Stored] | None:
    """The lease of a queued resource as it stands, or None where none was ever written."""
    name = paths.lease(zone, resource)
    stored = store.read(name)
    return None if stored is None else (job_records.parse(stored, name, Lease), stored)


def create(store: RecordStore, lease: Lease) -> None:
    """Writes the first lease of an id. Conflict where the id was used before."""
    if swap(store, paths.lease(lease.zone, lease.resource), codec.encode(lease), 0) is None:
        raise Conflict(f"the lease of {lease.resource} exists already: somebody else reserved this id")


def change(store: RecordStore, zone: str, resource: str, step: Callable[[Lease, Stored], Lease]) -> Lease:
    """Applies one transition by compare-and-swap and returns the lease that now stands.

    Raises LeaseRefused when the state does not allow it (decided anew after every lost race).
    """
    for _ in range(_SWAP_TRIES):
        found = read(store, zone, resource)
        if found is None:
            raise LeaseRefused(f"{resource} has no lease")
        wanted = step(*found)
        if not wanted.reserved:
            wanted = dataclasses.replace(wanted, reserved=found[1].updated)
        written = swap(store, paths.lease(zone, resource), codec.encode(wanted), found[1].generation)
        if written is not None:
            return wanted
    raise Conflict(f"the lease of {resource} changed {_SWAP_TRIES} times in a row under our hands")


def condemn(store: RecordStore, zone: str, resource: str, reason: str, *, by: str) -> Lease:
    """The one way to a deletion: the lease is CONDEMNED afterwards (also when it was before)."""

    def step(lease: Lease, stored: Stored) -> Lease:
        return lease.condemn(reason, by=by, updated=stored.updated, now=stored.now)

    try:
        return change(store, zone, resource, step)
    except LeaseRefused:
        found = read(store, zone, resource)
        if found is not None and found[0].state is LeaseState.CONDEMNED:
            return found[0]
        raise


class Renewal:
    """Renews a lease each RENEW_S while the client is its writer. Owned by the thread that runs the attempt."""

    def __init__(self, store: RecordStore, lease: Lease, clock: Clock) -> None:
        self._store = store
        self.lease = lease  # as it was written last
        self._clock = clock
        self._stop = threading.Event()
        self.lost: str = ""  # why the lease is no longer ours, once that is known
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)

    def __enter__(self) -> Renewal:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()

    def stop(self) -> None:
        """After this nothing is written any more: the lease can be handed over."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        zone, resource, holder = self.lease.zone, self.lease.resource, self.lease.holder
        while not self._clock.wait(RENEW_S, self._stop):
            try:
                self.lease = change(self._store, zone, resource, lambda it, _: it.renew(holder))
            except LeaseRefused as exc:
                self.lost = str(exc)
                return
            except CloudError:
                continue  # GCS is down: the next round tries again; past the time to live the lease is dead anyway
