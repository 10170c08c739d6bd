"""The worker's side of the lease: take it over, renew it, stop when it may be lost, and let the node go at the end."""

from __future__ import annotations

import threading
from urllib.parse import quote

from launcher.agent.bucket import Bucket
from launcher.agent.failures import AgentError, AttemptFailed, StopRequest
from launcher.agent.rest import HttpError, Rest, Unreachable
from launcher.agent.timing import Clock, Timing
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.spec import Spec
from launcher.records.swap import Stored, swap

_TRY_AGAIN_S = 5.0
_SWAP_TRIES = 8


class LeaseKeeper:
    """Holds the lease of this node's queued resource for one attempt, as its writer `worker`.

    `bucket` must give up within seconds: time runs while it tries.
    """

    def __init__(self, spec: Spec, bucket: Bucket, stop: StopRequest, *, timing: Timing, clock: Clock) -> None:
        self._spec = spec
        self._bucket = bucket
        self._stop = stop
        self._timing = timing
        self._clock = clock
        self._name = paths.lease(spec.zone, spec.queued_resource)
        self._closed = threading.Event()
        self.holder = f"{spec.job.job_id}/{spec.attempt}"
        # The client wrote the lease at most one renewal ago.
        self._confirmed = clock.monotonic() - timing.renew_s
        self._ttl_s = 0.0
        self._drained_at: float | None = None  # monotonic: when a DRAINING lease wants us gone
        self._drain_reason = ""

    def take_over(self, bucket: Bucket) -> None:
        """Becomes the lease's writer. AttemptFailed (WorkerLost) where it is not the lease that the client held."""
        asked = self._clock.monotonic()
        stored = bucket.read(self._name)
        if stored is None:
            raise AttemptFailed("WorkerLost", f"{self._spec.queued_resource} has no lease: it may be deleted any time")
        lease = codec.decode(Lease, stored.data)
        mine = lease.token == self._spec.lease_token or (lease.holder == self.holder and lease.writer == "worker")
        if not mine:
            raise AttemptFailed("WorkerLost", f"the lease changed hands before the job began: {_words(lease)}")
        try:
            held = lease.hold(self.holder, "worker")
        except LeaseRefused as exc:
            raise AttemptFailed("WorkerLost", f"the lease is not this job's: {exc}") from exc
        if swap(bucket, self._name, codec.encode(held), stored.generation) is None:
            raise AttemptFailed("WorkerLost", "the lease changed hands while the job began")
        self._confirm(held, stored, asked)
        threading.Thread(target=self._run, name="lease", daemon=True).start()

    def _confirm(self, lease: Lease, stored: Stored, asked: float) -> None:
        self._confirmed = asked
        self._ttl_s = lease.ttl_s
        if lease.state is LeaseState.DRAINING:
            self._drained_at = asked + (lease.deadline - stored.now) - self._timing.grace_s
            self._drain_reason = lease.reason

    def _stop_at(self) -> float:
        """Monotonic: no code of this job may run after it, for the lease can be over soon."""
        stop_at = self._confirmed + self._ttl_s - self._timing.stop_margin_s
        return stop_at if self._drained_at is None else min(stop_at, self._drained_at)

    def _run(self) -> None:
        pause_s = self._timing.renew_s
        while not self._clock.wait(min(pause_s, self._stop_at() - self._clock.monotonic()), self._closed):
            try:
                self._renew()
                pause_s = self._timing.renew_s
            except LeaseRefused as exc:
                self._stop.request("WorkerLost", f"the node's lease is lost, so its job was stopped: {exc}")
                return
            except (HttpError, Unreachable, AgentError):
                pause_s = _TRY_AGAIN_S
            if self._clock.monotonic() >= self._stop_at():
                self._stop.request("WorkerLost", self._why())
                return

    def _why(self) -> str:
        if self._drained_at is not None and self._clock.monotonic() >= self._drained_at:
            return f"the node is wanted back: {self._drain_reason}"
        silent_s = self._clock.monotonic() - self._confirmed
        return (
            f"the node's lease could not be renewed for {silent_s:.0f} s (GCS did not answer), so its job was stopped "
            "before somebody else may use or delete the node"
        )

    def _renew(self) -> None:
        """Raises LeaseRefused once the lease is not ours any more."""
        for _ in range(_SWAP_TRIES):
            asked = self._clock.monotonic()
            stored = self._bucket.read(self._name)
            if stored is None:
                raise LeaseRefused(f"the lease of {self._spec.queued_resource} is gone")
            found = codec.decode(Lease, stored.data)
            try:
                lease = found.renew(self.holder)
            except LeaseRefused:
                raise LeaseRefused(_words(found)) from None
            if swap(self._bucket, self._name, codec.encode(lease), stored.generation) is not None:
                self._confirm(lease, stored, asked)
                return

    def close(self) -> None:
        """Renews no more."""
        self._closed.set()

    def condemn(self, bucket: Bucket, reason: str) -> bool:
        """Condemns the lease; whether this node is to be deleted now. Not where the lease has another holder."""
        while True:
            stored = bucket.read(self._name)
            if stored is None:
                return False
            lease = codec.decode(Lease, stored.data)
            if lease.state is LeaseState.CONDEMNED:
                return True
            try:
                lease = lease.condemn(reason, by=self.holder, updated=stored.updated, now=stored.now)
            except LeaseRefused:
                return False
            if swap(bucket, self._name, codec.encode(lease), stored.generation) is not None:
                return True


def delete_queued_resource(rest: Rest, spec: Spec) -> None:
    """Asks the TPU API to delete this very node's queued resource; its lease must be condemned."""
    url = (
        f"{spec.tpu_endpoint.rstrip('/')}/v2/projects/{quote(spec.project, safe='')}"
        f"/locations/{quote(spec.zone, safe='')}/queuedResources/{quote(spec.queued_resource, safe='')}?force=true"
    )
    rest.send("DELETE", url, ok=(404,))


def _words(lease: Lease) -> str:
    words = f"{lease.resource} is {lease.state.value} by {lease.holder or 'nobody'}"
    return f"{words} ({lease.reason})" if lease.reason else words
