"""One job from its record to its outcome: the same engine in a blocking call and in the detached driver.

Whatever happens, two things hold on the way out: the job has an outcome, and every queued resource that was asked
for is condemned and its deletion asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable

from launcher.accelerators import parse
from launcher.cloud.seams import Progress
from launcher.errors import Cancelled, CloudError, LauncherError, Preempted, WorkerLost
from launcher.fleet import acquire, lease_book
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.attempt import Attempt, read_outcome
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records import codec, signing
from launcher.records.jobs import Cancel, ErrorInfo, Intent, JobRecord, JobStatus, Outcome, Report
from launcher.records.leases import Lease, LeaseRefused
from launcher.records.paths import JobPaths
from launcher.records.swap import create_once

RELEASE_TIMEOUT_S = 600.0


@dataclasses.dataclass
class Engine:
    """Runs one job. `cancel` may be set from any thread; everything else belongs to the thread that calls run."""

    platform: Platform
    job: JobRecord
    agent: AgentFile
    key: str
    secrets: dict[str, str]
    progress: Progress
    cancel: threading.Event
    index_args: dict[str, str] = dataclasses.field(default_factory=dict)
    on_outcome: Callable[[Outcome], None] = lambda outcome: None  # before the node is released
    on_leftover: Callable[[Intent], None] | None = None  # the deletion was asked for, but outlasts the timeout
    release_timeout_s: float = RELEASE_TIMEOUT_S
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)
    intent: Intent | None = None  # of the attempt that runs now: what has to be released

    def run(self) -> Outcome:
        """To the end: returns the outcome that stands, whoever wrote it."""
        attempt = 1
        try:
            try:
                self._check_not_ended()
                self.intent = acquire.write_intent(self.platform, self.job, attempt, "first attempt")
                outcome = self._attempt(self.intent)
            except Cancelled as exc:
                outcome = self._settle(JobStatus.CANCELLED, attempt, ErrorInfo("Cancelled", str(exc)))
            except LauncherError as exc:
                outcome = self._settle(JobStatus.FAILED, attempt, ErrorInfo(type(exc).__name__, str(exc)))
            except BaseException as exc:
                self._settle(JobStatus.FAILED, attempt, ErrorInfo("JobError", f"the launcher stopped: {exc!r}"))
                raise
            self.on_outcome(outcome)
            return outcome
        finally:
            if self.intent is not None:
                self._release(self.intent)

    def _check_not_ended(self) -> None:
        if read_outcome(self.platform, self.job) is not None:
            raise Cancelled("the job had ended before anything was started")

    def _attempt(self, intent: Intent) -> Outcome:
        started = self.platform.clock.monotonic()
        self.progress.phase("wait", f"asking for {self.job.accelerator} in {intent.zone}")
        lease = acquire.reserve_lease(self.platform, self.job, intent)
        with lease_book.Renewal(self.platform.store, lease, self.platform.clock) as renewal:
            acquire.create_node(self.platform, self.job, intent)
            node = acquire.wait_until_ready(self.platform, self.job, intent, self.progress, self.cancel, renewal)
            acquire.check_hosts(node, parse(self.job.accelerator))
            ready = self.platform.clock.monotonic()
            self.timings_s["wait"] = ready - started
            self.progress.phase("connect", node.name)
            attempt = Attempt(
                self.platform,
                self.job,
                acquire.Acquired(lease, intent, node),
                self.agent,
                self.key,
                self.secrets,
                self.index_args,
                self.progress,
                self.cancel,
                self.timings_s,
            )
            attempt.connect()
            held = self._hold(lease, attempt.pinned)
        self.timings_s["connect"] = self.platform.clock.monotonic() - ready
        try:
            return attempt.follow_to_end(attempt.start(held.token))
        except Cancelled:
            self._settle(JobStatus.CANCELLED, intent.attempt, ErrorInfo("Cancelled", "the job was cancelled"))
            with contextlib.suppress(LauncherError):  # the node goes away in any case
                attempt.stop("cancelled")
            raise
        except (Preempted, WorkerLost):
            # The worker may have committed its outcome before it died: that one counts.
            outcome = read_outcome(self.platform, self.job)
            if outcome is not None:
                return outcome
            raise
        finally:
            attempt.close()

    def _hold(self, lease: Lease, pinned: tuple[dict[str, str], ...]) -> Lease:
        def step(current: Lease, _: object) -> Lease:
            return lease_book.handed_over(current, pinned)

        try:
            return lease_book.change(self.platform.store, lease.zone, lease.resource, step)
        except LeaseRefused as exc:
            raise WorkerLost(f"the node was taken away before the job started: {exc}") from exc

    def _settle(self, status: JobStatus, attempt: int, error: ErrorInfo) -> Outcome:
        """Creates the outcome, unless one stands already."""
        return settle(self.platform, self.job, attempt, status, error, self.key)

    def _release(self, intent: Intent) -> None:
        holder = f"{self.job.job_id}/{intent.attempt}"
        self.progress.phase("release", intent.queued_resource)
        reason = f"job {self.job.job_id} ended"
        problem = "it is still being deleted"
        try:
            gone = release(
                self.platform,
                intent.zone,
                intent.queued_resource,
                by=holder,
                reason=reason,
                timeout_s=self.release_timeout_s,
            )
        except (CloudError, LeaseRefused) as exc:
            gone, problem = False, str(exc)
        if gone:
            self.progress.phase("released", intent.queued_resource)
            return
        if self.on_leftover is not None:
            self.on_leftover(intent)
            return
        self.progress.notice(
            f"node {intent.queued_resource} may still exist and cost money: {problem}. "
            f"It deletes itself when its lease is dead; to be sure: launcher nodes down {intent.queued_resource}"
        )


def settle(
    platform: Platform, job: JobRecord, attempt: int, status: JobStatus, error: ErrorInfo, key: str = ""
) -> Outcome:
    """Creates the job's outcome from the client's side and returns the one that stands."""
    report = Report(job.job_id, attempt, error.worker, status, error=error, ended=time.time())
    text = codec.encode(report).decode()
    signature = signing.sign(key, text) if key else ""
    outcome = Outcome(job.job_id, status, text, signature, writer="client")
    stands = create_once(platform.store, JobPaths(job.owner, job.job_id).outcome, codec.encode(outcome))
    return codec.decode(Outcome, stands)


def request_cancel(platform: Platform, job: JobRecord, by: str) -> None:
    """Records the wish to cancel. Repeating it changes nothing."""
    wish = Cancel(job.job_id, by, time.time())
    create_once(platform.store, JobPaths(job.owner, job.job_id).cancel, codec.encode(wish))
