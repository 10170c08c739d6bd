"""The lease while a session's front has it: between two attempts, kept for a moment for the next one, then let go."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from launcher.agent import clock
from launcher.agent.bucket import Bucket
from launcher.agent.control import AgentError, Timing
from launcher.agent.holding import Handover, Holding
from launcher.agent.lease import TRY_AGAIN_S, WorkerLease
from launcher.agent.rest import HttpError, Metadata, Rest, Unreachable
from launcher.records.leases import LeaseRefused
from launcher.records.spec import Spec

_TIMEOUT_S = 5.0  # the session's one thread has heartbeats to send
UNUSABLE = "the job failed before its code ran, so the node is not used again"
_PATIENCE_S = 900.0  # of a front whose client is gone; longer than any lease lives


class Custody:
    """One lease, or none. `released` is called, with words, whenever none is offered any more."""

    def __init__(self, timing: Timing, released: Callable[[str], None], alarm: Alarm) -> None:
        self._timing = timing
        self._released = released
        self._alarm = alarm
        self._metadata = Metadata(timing.metadata_patience_s)
        self._lease: WorkerLease | None = None
        self._offered = False  # whether the next attempt may have it
        self._warm = False  # what becomes of it in the end
        self._sure = True
        self._until = 0.0  # monotonic: how long it is kept
        self._reason = ""
        self._retry_at = 0.0

    def offer(self) -> Holding | None:
        """What the session's next attempt may run on."""
        lease = self._lease
        if lease is None or not self._offered or lease.holding is None:
            return None
        return lease.holding if clock.monotonic() < lease.holding.stop_at(self._timing) else None

    def lend(self) -> None:
        """An attempt has it now, or has another one."""
        self._lease = None
        self._alarm.cancel()

    def take(self, spec: Spec, handover: Handover) -> None:
        """Keeps it after an attempt. A node that is not kept warm is its client's to delete first."""
        timing, usable, external = self._timing, handover.usable, handover.holding.external
        spared = external or bool(spec.job.node)  # no call deletes it
        kept = usable and (spared or spec.job.keep_warm_s > 0)
        self._reason = "the job ended and its client did not delete the node" if usable else UNUSABLE
        hold_s = timing.session_hold_s if kept else 0.0 if spared else timing.client_grace_s
        self._offered, self._warm, self._sure = usable, kept or spared, True
        self._keep(spec, handover.holding, hold_s)

    def suspect(self, spec: Spec) -> None:
        """Takes the lease of an attempt whose supervisor died: not to be used again, and let go at once."""
        self._reason = "the job's supervisor died"
        self._offered, self._warm, self._sure = False, False, False
        self._keep(spec, None, 0.0)

    def _keep(self, spec: Spec, holding: Holding | None, hold_s: float) -> None:
        self._spec = spec
        self._lease = WorkerLease(spec, holding)
        self._until = clock.monotonic() + hold_s
        self._retry_at = 0.0
        self._arm()

    def _bucket(self, rest: Rest) -> Bucket:
        return Bucket(rest, self._spec.storage_endpoint, self._spec.bucket)

    def _renew_at(self) -> float:
        assert self._lease is not None
        holding = self._lease.holding
        return holding.confirmed + self._timing.renew_s if holding is not None else self._until

    def _arm(self) -> None:
        self._alarm.set(max(min(self._until, self._renew_at()), self._retry_at))

    def tend(self) -> None:
        """Renews the lease, or lets it go, when it is time. An outage of the bucket only delays both."""
        lease, now = self._lease, clock.monotonic()
        if lease is None or now < max(min(self._until, self._renew_at()), self._retry_at):
            return
        bucket = self._bucket(Rest(self._metadata, 0.0, _TIMEOUT_S))
        try:
            if now < self._until:
                lease.renew(bucket, running=False)
                wanted_back = lease.holding is not None and lease.holding.reason
                self._until = now if wanted_back else self._until
            else:
                words = lease.let_go(bucket, self._reason, warm=self._warm, sure=self._sure)
                self._lease = None
                self._released(words)
                return
        except LeaseRefused as exc:
            self._lease = None
            self._released(str(exc))
            return
        except (HttpError, Unreachable, AgentError) as exc:
            self._retry_at = now + TRY_AGAIN_S
            if now >= self._until and self._offered:
                self._offered = False  # the write may have been done
                self._released(f"its release is not confirmed yet: {exc}")
        self._arm()

    def leave(self) -> None:
        """The client is gone: lets it go at once, waiting out an outage."""
        self._alarm.cancel()
        if self._lease is None:
            return
        bucket = self._bucket(Rest(self._metadata, _PATIENCE_S))
        reason = self._reason if not self._offered else "the job ended and nobody was connected"
        try:
            self._lease.let_go(bucket, reason, warm=self._warm, sure=self._sure)
        except (LeaseRefused, HttpError, Unreachable, AgentError) as exc:
            # The node's timer and the reaper find it; nobody listens here any more.
            print(f"cannot let {self._spec.queued_resource} go: {exc}", file=sys.stderr)


class Alarm:
    """Writes a byte to a pipe at a moment of the worker's clock, which the poll of a client's input cannot follow."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self, at: float) -> None:
        self.cancel()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(at, self._cancelled), name="alarm", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Forgets that it rang, once the reader has something."""
        os.read(self.reader, 64)

    def _run(self, at: float, cancelled: threading.Event) -> None:
        if not clock.wait(cancelled, max(at - clock.monotonic(), 0.0)):
            os.write(self._writer, b"\0")

    def cancel(self) -> None:
        """No thread of it runs on return, so that this process may fork."""
        self._cancelled.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
