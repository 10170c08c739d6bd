"""One job from its record to its outcome: the same engine in a blocking call and in the detached driver.

Whatever happens, two things hold on the way out: the job has an outcome, and every node that was asked for is either
left warm by its own agent, or condemned and its deletion asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

from launcher.cloud.seams import Progress
from launcher.errors import (
    ApiDisabled,
    Cancelled,
    CloudError,
    ConnectError,
    LauncherError,
    PermissionDenied,
    Preempted,
    WorkerLost,
)
from launcher.fleet import pool
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.attempt import Attempt
from launcher.fleet.costs import goodbye
from launcher.fleet.job_records import read_outcome, settle
from launcher.fleet.placement import Placement
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.fleet.session import Session, Sessions
from launcher.records.jobs import ErrorInfo, Intent, JobRecord, JobStatus, Outcome
from launcher.records.leases import LeaseRefused
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
    sessions: Sessions
    on_outcome: Callable[[Outcome], None] = lambda outcome: None  # before the node is released
    release_timeout_s: float = RELEASE_TIMEOUT_S
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._attempt: Attempt | None = None
        self._placement = Placement(
            self.platform,
            self.job,
            self.agent,
            self.sessions,
            self.progress,
            self.cancel,
            self._check_wanted,
            self.timings_s,
        )

    @property
    def intent(self) -> Intent | None:
        """Of a node that may exist: whoever ends this process before has to release it."""
        return self._placement.intent

    @property
    def started(self) -> bool:
        """Whether the worker has the job, which then does not need this process."""
        return self._attempt is not None and self._attempt.heard

    def run(self) -> Outcome:
        """To the end: returns the outcome that stands, whoever wrote it. `intent` is None when nothing is left to do
        about its node."""
        try:
            outcome = self._outcome()
            self.on_outcome(outcome)
            return outcome
        finally:
            self._let_go()

    def _outcome(self) -> Outcome:
        try:
            with _watch(self.platform, self.job, self.cancel):
                return self._tries()
        except Cancelled as exc:
            return self._settle(JobStatus.CANCELLED, ErrorInfo("Cancelled", str(exc)))
        except (PermissionDenied, ApiDisabled) as exc:
            from launcher.fleet import doctor  # what only a failure needs

            exc = doctor.explain(self.platform, exc)
            return self._settle(JobStatus.FAILED, ErrorInfo(type(exc).__name__, str(exc)))
        except LauncherError as exc:
            return self._settle(JobStatus.FAILED, ErrorInfo(type(exc).__name__, str(exc)))
        except BaseException as exc:
            self._settle(JobStatus.FAILED, ErrorInfo("JobError", f"the launcher stopped: {exc!r}"))
            raise

    def _settle(self, status: JobStatus, error: ErrorInfo) -> Outcome:
        """Creates the outcome, unless one stands already."""
        return settle(self.platform, self.job, 1, status, error, self.key)

    def _tries(self) -> Outcome:
        """On the first node that takes the job. A node that was there before may have died unseen: then the next."""
        self._check_wanted()
        while True:
            try:
                return self._run(self._placement.get())
            except (Preempted, WorkerLost, ConnectError) as exc:
                # The worker may have committed its outcome before it died: that one counts.
                outcome = read_outcome(self.platform, self.job)
                if outcome is not None:
                    return outcome
                if self.started or self.job.node or self.intent is None or self.intent.made:
                    raise
                self.progress.notice(f"{exc}; using another node")
                self._let_go(broken=True)

    def _check_wanted(self) -> None:
        # Whoever cancels writes the outcome first and reads the intents then: one of us sees the other.
        if read_outcome(self.platform, self.job) is not None:
            raise Cancelled("the job had ended before anything was started")

    def _run(self, session: Session) -> Outcome:
        attempt = self._attempt = Attempt(self.platform, self._spec(session), session, self.progress, self.cancel)
        try:
            return attempt.run()
        except Cancelled as exc:
            self._settle(JobStatus.CANCELLED, ErrorInfo("Cancelled", str(exc)))
            stopped = False
            with contextlib.suppress(LauncherError):
                stopped = attempt.stop("cancelled")
            if stopped:
                session.hang_up()  # what the agent still has to say of this attempt must not be heard by the next
            else:
                attempt.ran = False  # nobody knows what runs there: the node goes away
            raise

    def _spec(self, session: Session) -> Spec:
        profile, lease = self.platform.profile, session.lease
        return Spec(
            job=dataclasses.replace(self.job, keep_warm_s=self._keep_warm_s(session)),
            attempt=1,
            zone=lease.zone,
            queued_resource=lease.resource,
            project=profile.project,
            bucket=profile.bucket,
            storage_endpoint=profile.storage_endpoint,
            tpu_endpoint=profile.tpu_endpoint,
            lease_token=session.token,
            key=self.key,
            secrets=self.secrets,
            holder=session.lease.holder,
            timings_s=self.timings_s,
            index_args=self.index_args,
        )

    def _keep_warm_s(self, session: Session) -> float:
        """What the call asks for; but no call deletes what was prepared for longer, or is somebody else's."""
        lease = session.lease
        if lease.standing:
            return max(lease.keep_warm_s, 1.0)  # Terraform says how long
        ahead = session.prepared_until > self.platform.clock.monotonic() or lease.owner != self.job.owner
        spared = lease.external or bool(self.job.node) or ahead
        return self.job.keep_warm_s or (max(lease.keep_warm_s, 1.0) if spared else 0.0)

    def _let_go(self, *, broken: bool = False) -> None:
        """Leaves the node to the next call, or gives it up. `broken`: it could not be used."""
        placed, attempt = self._placement, self._attempt
        session, intent = placed.session, placed.intent
        placed.session = self._attempt = None
        placed.sweep()
        if intent is None:
            return
        if session is not None:
            keep_warm_s = self._keep_warm_s(session)
            if attempt is not None and attempt.ran and keep_warm_s:
                placed.intent = None
                self.sessions.put(session)
                self._say_goodbye(session, keep_warm_s)
                return
            session.close()
            # A node that was there before goes on as it was where nothing was started on it. If it could not be reached
            # from here, only its owner deletes it for that.
            untouched = attempt is None and not intent.made
            broken = broken and session.lease.owner == self.job.owner
            if session.lease.external or self.job.node or (untouched and not broken):
                placed.intent = None
                with contextlib.suppress(CloudError):  # it expires then, and is free again
                    pool.give_back(self.platform, session.lease, intent.holder)
                return
        self._release(intent)

    def _say_goodbye(self, session: Session, keep_warm_s: float) -> None:
        """Not again within the same minute: calls may come in a loop."""
        lease = session.lease
        if not lease.external:
            now = session.google_now()
            idle_at = max(now + keep_warm_s, lease.warm_until)
            line = goodbye(idle_at, now, lease.usd_per_hour, lease.resource, self.platform.profile.simulated)
            if line != session.goodbye:
                session.goodbye = line
                self.progress.notice(line)

    def _release(self, intent: Intent) -> None:
        self.progress.phase("release", intent.queued_resource)
        problem = "it is still being deleted"
        try:
            gone = release(
                self.platform,
                intent.zone,
                intent.queued_resource,
                by=intent.holder,
                reason=f"job {self.job.job_id} ended",
                timeout_s=self.release_timeout_s,
            )
        except (CloudError, LeaseRefused) as exc:
            gone, problem = False, str(exc)
        if gone:
            self._placement.intent = None
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
