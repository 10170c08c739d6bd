"""The worker's side of the lease: take it over, renew it, stop when it may be lost, and let the node go at the end."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from urllib.parse import quote

from launcher.agent import clock
from launcher.agent.bucket import Bucket
from launcher.agent.control import AgentError, Attempt, AttemptFailed
from launcher.agent.holding import Holding
from launcher.agent.rest import HttpError, Unreachable
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.spec import Spec
from launcher.records.swap import Stored, swap

TRY_AGAIN_S = 5.0


class WorkerLease:
    """The lease of this node as this worker writes it: one process at a time, for the holder that `spec` names.

    Errors of the bucket pass through; LeaseRefused says who has it now.
    """

    def __init__(self, spec: Spec, holding: Holding | None = None) -> None:
        self._spec = spec
        self._name = paths.lease(spec.zone, spec.queued_resource)
        self._job = f"{spec.job.owner}/{spec.job.job_id}/{spec.attempt}"
        self._running_since: float | None = None
        self._tokens = holding.tokens if holding is not None else (spec.lease_token,)
        self.holding = holding  # None before it was taken over

    def count(self, *, running: bool) -> None:
        """Run time is counted from here, or to here."""
        if self.holding is not None:
            self.holding = dataclasses.replace(self.holding, busy_s=self._busy_s(), tokens=self._tokens)
        self._running_since = clock.monotonic() if running else None

    def _busy_s(self) -> float:
        told_s = self.holding.busy_s if self.holding is not None else 0.0
        return told_s + (clock.monotonic() - self._running_since if self._running_since is not None else 0.0)

    def take_over(self, bucket: Bucket) -> None:
        """Becomes the lease's writer, where it is still as the client left it."""

        def step(found: Lease, stored: Stored) -> Lease:
            if found.token != self._spec.lease_token:
                raise LeaseRefused(f"the lease changed hands before the job began: {_words(found)}")
            return found.hold(self._spec.holder, "worker", job=self._job)

        self._change(bucket, step)

    def renew(self, bucket: Bucket, *, running: bool) -> None:
        """With `running`, nobody else can have an attempt here: whoever writes for this holder, it is still ours."""

        def step(found: Lease, stored: Stored) -> Lease:
            if not running:
                self._check_ours(found)
            try:
                lease = found.renew(self._spec.holder)
            except LeaseRefused:
                raise LeaseRefused(_words(found)) from None
            return dataclasses.replace(lease, job=self._job) if running else lease

        self._change(bucket, step)

    def let_go(self, bucket: Bucket, reason: str, *, warm: bool, sure: bool = True) -> str:
        """Releases the lease to WARM, or condemns it and deletes the node. In words, what became of the node.

        A node that is wanted back is deleted in any case, one that is not ours to delete never. Not `sure`: what
        was last written is not known, only the holder.
        """
        spec = self._spec

        def step(found: Lease, stored: Stored) -> Lease:
            if found.state is LeaseState.CONDEMNED:
                return found
            if sure:
                self._check_ours(found)
            if found.external or (warm and found.state is LeaseState.HELD):
                # Of the last call's settings, where it has any: a session writes no lease between its calls.
                keep_warm_s = spec.job.keep_warm_s or found.keep_warm_s
                return dataclasses.replace(found.release(spec.holder), keep_warm_s=keep_warm_s)
            why = found.reason if found.state is LeaseState.DRAINING else reason
            return found.condemn(why, by=spec.holder, updated=stored.updated, now=stored.now)

        lease = self._change(bucket, step)
        if lease.state is LeaseState.WARM:
            return f"{spec.queued_resource} is WARM"
        url = (
            f"{spec.tpu_endpoint.rstrip('/')}/v2/projects/{quote(spec.project, safe='')}/locations/"
            f"{quote(spec.zone, safe='')}/queuedResources/{quote(spec.queued_resource, safe='')}?force=true"
        )
        bucket.rest.send("DELETE", url, ok=(404,))
        return f"{spec.queued_resource} is being deleted: {lease.reason}"

    def _check_ours(self, found: Lease) -> None:
        """A HELD lease that another process wrote, in the name of the same holder, is not this one's to change."""
        if found.holder != self._spec.holder or (found.state is LeaseState.HELD and found.token not in self._tokens):
            raise LeaseRefused(_words(found))

    def _change(self, bucket: Bucket, step: Callable[[Lease, Stored], Lease]) -> Lease:
        """Applies `step`, decided anew after every lost race. Nothing is written where it changes nothing."""
        while True:
            asked = clock.monotonic()
            stored = bucket.read(self._name)
            if stored is None:
                raise LeaseRefused(f"{self._spec.queued_resource} has no lease: it may be deleted any time")
            found = codec.decode(Lease, stored.data)
            lease = step(found, stored)
            if lease is found:
                return lease
            running_since, busy_s = clock.monotonic(), self._busy_s()
            lease = dataclasses.replace(lease, busy_s=found.busy_s + busy_s)
            self._tokens = (*self._tokens, lease.token)  # before the write: its answer may be lost
            if swap(bucket, self._name, codec.encode(lease), stored.generation) is not None:
                if self._running_since is not None:
                    self._running_since = running_since
                self.holding = _held(lease, stored.now, asked)
                self._tokens = self.holding.tokens
                return lease


class LeaseKeeper:
    """Keeps the lease for as long as one attempt runs. Only the attempt's leader writes it; every worker watches it
    and stops the attempt before the lease can be over."""

    def __init__(self, attempt: Attempt, bucket: Bucket) -> None:
        self._attempt = attempt
        self._bucket = bucket  # gives up after one try, for time runs while it tries
        self._stop = attempt.stop
        self._timing = attempt.timing
        self._closed = threading.Event()
        self._lost = False
        self._renewing = threading.Thread(target=self._renewals, name="lease", daemon=True)
        self.lease = WorkerLease(attempt.spec, attempt.holding)

    def begin(self, bucket: Bucket) -> None:
        """Takes the lease over where it came with the attempt. AttemptFailed (WorkerLost) where it is lost already."""
        try:
            if not self._attempt.leads:
                self._look(bucket)
            elif self._attempt.holding is None:
                self.lease.take_over(bucket)
        except LeaseRefused as exc:
            raise AttemptFailed("WorkerLost", str(exc)) from exc
        self.lease.count(running=True)
        self._renewing.start()
        # Apart from the renewals: a request that hangs must not delay the stop.
        threading.Thread(target=self._watch, name="lease-watch", daemon=True).start()

    @property
    def _holding(self) -> Holding:
        assert self.lease.holding is not None  # from `begin` on
        return self.lease.holding

    def stop_at(self) -> float:
        return self._holding.stop_at(self._timing)

    def _watch(self) -> None:
        while (left_s := self.stop_at() - clock.monotonic()) > 0:
            if clock.wait(self._closed, min(left_s, 1.0)):  # a drained lease moves the moment closer
                return
        if self._holding.reason:
            why = f"the node is wanted back: {self._holding.reason}"
        else:
            silent_s = clock.monotonic() - self._holding.confirmed
            why = (
                f"the node's lease could not be renewed for {silent_s:.0f} s (GCS did not answer), so its job was "
                "stopped before somebody else may use or delete the node"
            )
        self._stop.request("WorkerLost", why)

    def _renewals(self) -> None:
        pause_s = self._holding.confirmed + self._timing.renew_s - clock.monotonic()
        while not clock.wait(self._closed, max(pause_s, 0.0)):
            try:
                if self._attempt.leads:
                    self.lease.renew(self._bucket, running=True)
                else:
                    self._look(self._bucket)
                pause_s = self._timing.renew_s
            except LeaseRefused as exc:
                self._lost = True
                self._stop.request("WorkerLost", f"the node's lease is lost, so its job was stopped: {exc}")
                return
            except (HttpError, Unreachable, AgentError):
                pause_s = TRY_AGAIN_S

    def _look(self, bucket: Bucket) -> None:
        """What the leader's lease says, without writing it."""
        spec = self._attempt.spec
        asked = clock.monotonic()
        stored = bucket.read_dated(paths.lease(spec.zone, spec.queued_resource))
        if stored is None:
            raise LeaseRefused(f"{spec.queued_resource} has no lease: it may be deleted any time")
        lease = codec.decode(Lease, stored.data)
        if lease.holder != spec.holder or lease.state not in (LeaseState.HELD, LeaseState.DRAINING):
            raise LeaseRefused(_words(lease))
        held = _held(lease, stored.now, asked)
        self.lease.holding = dataclasses.replace(held, confirmed=asked - (stored.now - stored.updated))

    def close(self) -> Holding | None:
        """Once no code of the attempt runs: nothing is written any more. What is to be passed on, if anything is: a
        node that is wanted back, or lost, is not."""
        self._closed.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        self.lease.count(running=False)
        return None if self.unkeepable or not self._attempt.leads else self.lease.holding

    @property
    def unkeepable(self) -> bool:
        """Whether the lease is lost, or wanted back."""
        return self._lost or self.lease.holding is None or self.lease.holding.reason != ""


def _held(lease: Lease, now: float, asked: float) -> Holding:
    """`now` by GCS's clock, `asked` by ours: of the same request."""
    held = Holding((lease.token,), asked, lease.ttl_s, lease.external)
    if lease.state is not LeaseState.DRAINING:
        return held
    return dataclasses.replace(held, drained_at=asked + lease.deadline - now, reason=lease.reason or "no reason given")


def _words(lease: Lease) -> str:
    words = f"{lease.resource} is {lease.state.value} by {lease.holder or 'nobody'}"
    return f"{words} ({lease.reason})" if lease.reason else words
