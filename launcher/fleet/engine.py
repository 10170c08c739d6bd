"""One job from its record to its outcome: the same engine in a blocking call and in the detached driver.

Whatever happens, two things hold on the way out: the job has an outcome, and every queued resource that was asked
for is condemned and its deletion asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

from launcher.accelerators import parse
from launcher.cloud.seams import Progress
from launcher.errors import Cancelled, CloudError, LauncherError, Preempted, WorkerLost
from launcher.fleet import acquire, lease_book
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.attempt import Attempt
from launcher.fleet.job_records import read_outcome, settle
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records.jobs import ErrorInfo, Intent, JobRecord, JobStatus, Outcome
from launcher.records.leases import Lease, LeaseRefused
from launcher.records.paths import JobPaths
from launcher.records.spec import Spec

RELEASE_TIMEOUT_S = 3600.0  # for a process of its own: an outage of the API may last
_CANCEL_POLL_S = 2.0


@dataclasses.dataclass
class Engine:
    """Runs one job. `cancel` may be set from any thread; everything else belongs to the thread that calls run."""

    platform: Platform
    job: JobRecord
    agent: AgentFile
    key: str
    secrets: dict[str, str]
    index_args: dict[str, str]
    progress: Progress
    cancel: threading.Event
    on_outcome: Callable[[Outcome], None] = lambda outcome: None  # before the node is released
    release_timeout_s: float = RELEASE_TIMEOUT_S
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)
    intent: Intent | None = None  # of a node that may exist: whoever ends this process before has to release it

    def run(self) -> Outcome:
        """To the end: returns the outcome that stands, whoever wrote it. `intent` is None when the node is gone."""
        try:
            outcome = self._outcome()
            self.on_outcome(outcome)
            return outcome
        finally:
            if self.intent is not None:
                self._release(self.intent)

    def _outcome(self) -> Outcome:
        try:
            with _watch(self.platform, self.job, self.cancel):
                return self._attempt()
        except Cancelled as exc:
            return self._settle(JobStatus.CANCELLED, ErrorInfo("Cancelled", str(exc)))
        except LauncherError as exc:
            return self._settle(JobStatus.FAILED, ErrorInfo(type(exc).__name__, str(exc)))
        except BaseException as exc:
            self._settle(JobStatus.FAILED, ErrorInfo("JobError", f"the launcher stopped: {exc!r}"))
            raise

    def _settle(self, status: JobStatus, error: ErrorInfo) -> Outcome:
        """Creates the outcome, unless one stands already."""
        return settle(self.platform, self.job, 1, status, error, self.key)

    def _attempt(self) -> Outcome:
        clock, zone = self.platform.clock, self.job.zones[0]
        started = clock.monotonic()
        self.progress.phase("wait", f"asking for {self.job.accelerator} in {zone}")
        intent = self.intent = acquire.write_intent(self.platform, self.job, 1, "first attempt")
        lease = acquire.reserve_lease(self.platform, self.job, intent)
        with lease_book.Renewal(self.platform.store, lease, clock) as renewal:
            # Whoever cancels writes the outcome first and reads the intents then: one of us sees the other.
            if read_outcome(self.platform, self.job) is not None:
                raise Cancelled("the job had ended before anything was started")
            acquire.create_node(self.platform, self.job, intent, self.progress, self.cancel)
            node = acquire.wait_until_ready(self.platform, self.job, intent, self.progress, self.cancel, renewal)
            acquire.check_hosts(node, parse(self.job.accelerator))
            ready = clock.monotonic()
            self.timings_s["wait"] = ready - started
            self.progress.phase("connect", node.name)
            attempt = Attempt(self.platform, self._spec(intent), node, self.agent, self.progress, self.cancel)
            with contextlib.closing(attempt):
                attempt.connect()
                renewal.stop()  # the agent recognises the lease by the token of the next write
                held = self._hold(lease, attempt)
                self.timings_s["connect"] = clock.monotonic() - ready
                return self._run(attempt, held.token)

    def _spec(self, intent: Intent) -> Spec:
        profile = self.platform.profile
        return Spec(
            job=self.job,
            attempt=intent.attempt,
            zone=intent.zone,
            queued_resource=intent.queued_resource,
            project=profile.project,
            bucket=profile.bucket,
            storage_endpoint=profile.storage_endpoint,
            tpu_endpoint=profile.tpu_endpoint,
            lease_token="",
            key=self.key,
            secrets=self.secrets,
            timings_s=self.timings_s,
            index_args=self.index_args,
        )

    def _hold(self, lease: Lease, attempt: Attempt) -> Lease:
        """RESERVED -> HELD, with the host keys that every later contact must see."""
        pinned = tuple(dict(each.host_keys) for each in attempt.attributes)
        try:
            return lease_book.change(
                self.platform.store,
                lease.zone,
                lease.resource,
                lambda it, _: dataclasses.replace(it.hold(lease.holder, "client"), host_keys=pinned),
            )
        except LeaseRefused as exc:
            raise WorkerLost(f"the node was taken away before the job started: {exc}") from exc

    def _run(self, attempt: Attempt, lease_token: str) -> Outcome:
        try:
            return attempt.run(lease_token)
        except Cancelled as exc:
            self._settle(JobStatus.CANCELLED, ErrorInfo("Cancelled", str(exc)))
            with contextlib.suppress(LauncherError):  # the node goes away in any case
                attempt.stop("cancelled")
            raise
        except (Preempted, WorkerLost):
            # The worker may have committed its outcome before it died: that one counts.
            outcome = read_outcome(self.platform, self.job)
            if outcome is not None:
                return outcome
            raise

    def _release(self, intent: Intent) -> None:
        self.progress.phase("release", intent.queued_resource)
        problem = "it is still being deleted"
        try:
            gone = release(
                self.platform,
                intent.zone,
                intent.queued_resource,
                by=f"{self.job.job_id}/{intent.attempt}",
                reason=f"job {self.job.job_id} ended",
                timeout_s=self.release_timeout_s,
            )
        except (CloudError, LeaseRefused) as exc:
            gone, problem = False, str(exc)
        if gone:
            self.intent = None
            self.progress.phase("released", intent.queued_resource)
        else:
            self.progress.phase("leftover", problem)


@contextlib.contextmanager
def _watch(platform: Platform, job: JobRecord, cancel: threading.Event) -> Iterator[None]:
    """Sets `cancel` once cancel.json exists: somebody cancelled from elsewhere."""
    ended = threading.Event()
    name = JobPaths(job.owner, job.job_id).cancel

    def watch() -> None:
        while not platform.clock.wait(_CANCEL_POLL_S, ended):
            with contextlib.suppress(LauncherError):  # an outage: the next look will tell
                if platform.store.stat(name) is not None:
                    cancel.set()
                    return

    threading.Thread(target=watch, name="cancel-watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
