"""The worker's side of the lease: take it over, renew it, stop when it may be lost, and let the node go at the end."""

from __future__ import annotations

import sys
import threading
import time
from urllib.parse import quote

from launcher.agent.bucket import Bucket
from launcher.agent.control import AgentError, Attempt, AttemptFailed
from launcher.agent.rest import HttpError, Unreachable
from launcher.records import codec, paths
from launcher.records.leases import Lease, LeaseRefused, LeaseState
from launcher.records.swap import Stored, swap

_TRY_AGAIN_S = 5.0


class LeaseKeeper:
    """Holds the lease of this node's queued resource for one attempt, as its writer `worker`."""

    def __init__(self, attempt: Attempt, bucket: Bucket) -> None:
        spec = self._spec = attempt.spec
        self._bucket = bucket  # gives up after one try, for time runs while it tries
        self._stop = attempt.stop
        self._timing = attempt.timing
        self._name = paths.lease(spec.zone, spec.queued_resource)
        self._closed = threading.Event()
        self._holder = f"{spec.job.job_id}/{spec.attempt}"
        self._confirmed = 0.0  # monotonic, of the request
        self._ttl_s = 0.0
        self._drained_at = float("inf")  # monotonic: when a DRAINING lease wants us gone
        self._drain_reason = ""

    def take_over(self, bucket: Bucket) -> None:
        """Becomes the lease's writer. AttemptFailed (WorkerLost) where it is not the lease that the client held."""
        asked = time.monotonic()
        stored = bucket.read(self._name)
        if stored is None:
            raise AttemptFailed("WorkerLost", f"{self._spec.queued_resource} has no lease: it may be deleted any time")
        lease = codec.decode(Lease, stored.data)
        if lease.token != self._spec.lease_token:
            raise AttemptFailed("WorkerLost", f"the lease changed hands before the job began: {_words(lease)}")
        try:
            held = lease.hold(self._holder, "worker")
        except LeaseRefused as exc:
            raise AttemptFailed("WorkerLost", f"the lease is not this job's: {exc}") from exc
        if swap(bucket, self._name, codec.encode(held), stored.generation) is None:
            raise AttemptFailed("WorkerLost", "the lease changed hands while the job began")
        self._confirm(held, stored, asked)
        threading.Thread(target=self._renewals, name="lease", daemon=True).start()
        # Apart from the renewals: a request that hangs must not delay the stop.
        threading.Thread(target=self._watch, name="lease-watch", daemon=True).start()

    def _confirm(self, lease: Lease, stored: Stored, asked: float) -> None:
        self._confirmed, self._ttl_s = asked, lease.ttl_s
        if lease.state is LeaseState.DRAINING:
            self._drained_at = asked + (lease.deadline - stored.now) - self._timing.grace_s
            self._drain_reason = lease.reason

    def stop_at(self) -> float:
        """Monotonic: no code of this job may run after it, for the lease can be over soon."""
        return min(self._confirmed + self._ttl_s - self._timing.stop_margin_s, self._drained_at)

    def _watch(self) -> None:
        while (left_s := self.stop_at() - time.monotonic()) > 0:
            if self._closed.wait(min(left_s, 1.0)):  # a drained lease moves the moment closer
                return
        if self._drained_at <= time.monotonic():
            why = f"the node is wanted back: {self._drain_reason}"
        else:
            why = (
                f"the node's lease could not be renewed for {time.monotonic() - self._confirmed:.0f} s (GCS did not "
                "answer), so its job was stopped before somebody else may use or delete the node"
            )
        self._stop.request("WorkerLost", why)

    def _renewals(self) -> None:
        pause_s = self._timing.renew_s
        while not self._closed.wait(pause_s):
            try:
                self._renew()
                pause_s = self._timing.renew_s
            except LeaseRefused as exc:
                self._stop.request("WorkerLost", f"the node's lease is lost, so its job was stopped: {exc}")
                return
            except (HttpError, Unreachable, AgentError):
                pause_s = _TRY_AGAIN_S

    def _renew(self) -> None:
        """Raises LeaseRefused once the lease is not ours any more."""
        while not self._closed.is_set():
            asked = time.monotonic()
            stored = self._bucket.read(self._name)
            if stored is None:
                raise LeaseRefused(f"the lease of {self._spec.queued_resource} is gone")
            found = codec.decode(Lease, stored.data)
            try:
                lease = found.renew(self._holder)
            except LeaseRefused:
                raise LeaseRefused(_words(found)) from None
            if swap(self._bucket, self._name, codec.encode(lease), stored.generation) is not None:
                self._confirm(lease, stored, asked)
                return

    def leave(self, bucket: Bucket, *, client_connected: bool) -> None:
        """After the attempt: a node that nobody is about to delete deletes itself, so that it never idles.

        A connected client is left some time for it; one that does it ends this process with the node.
        """
        reason = "the job ended and nobody was connected"
        if client_connected:
            time.sleep(self._timing.client_grace_s)
            reason = "the job ended and its client did not delete the node"
        self._closed.set()
        spec = self._spec
        try:
            if self._condemn(bucket, reason):
                url = (
                    f"{spec.tpu_endpoint.rstrip('/')}/v2/projects/{quote(spec.project, safe='')}/locations/"
                    f"{quote(spec.zone, safe='')}/queuedResources/{quote(spec.queued_resource, safe='')}?force=true"
                )
                bucket.rest.send("DELETE", url, ok=(404,))
        except (AgentError, HttpError) as exc:
            # The node's timer and the reaper find it; here only the agent's log can tell.
            print(f"cannot delete {spec.queued_resource}: {exc}", file=sys.stderr)

    def _condemn(self, bucket: Bucket, reason: str) -> bool:
        """Condemns the lease; whether this node is to be deleted now. Not where the lease has another holder."""
        while True:
            stored = bucket.read(self._name)
            if stored is None:
                return False
            lease = codec.decode(Lease, stored.data)
            if lease.state is LeaseState.CONDEMNED:
                return True
            try:
                lease = lease.condemn(reason, by=self._holder, updated=stored.updated, now=stored.now)
            except LeaseRefused:
                return False
            if swap(bucket, self._name, codec.encode(lease), stored.generation) is not None:
                return True


def _words(lease: Lease) -> str:
    words = f"{lease.resource} is {lease.state.value} by {lease.holder or 'nobody'}"
    return f"{words} ({lease.reason})" if lease.reason else words
