"""The handle on a job: status, log, result, cancel. Everything is read from the records in the bucket."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Generic, TypeVar

from launcher import results
from launcher.cancelling import cancel, settle_if_lost
from launcher.config import load_profile
from launcher.errors import CloudError, ConfigError, ConnectError, Unavailable
from launcher.fleet import job_records
from launcher.fleet.job_records import AttemptRecord
from launcher.fleet.platform import Platform, Poll, platform_of
from launcher.following import ask_worker, follow
from launcher.records.jobs import JobRecord, JobStatus, Outcome
from launcher.records.paths import JOB_ID, JobPaths, jobs_prefix
from launcher.submission import read_key, spawn_end
from launcher.terminal import Console

R = TypeVar("R")

_PARTS = {  # phases as they are recorded -> parts of a call as they are shown, in order
    "pack": "pack",
    "wait": "wait",
    "connect": "connect",
    "starting": "environment",
    "environment": "environment",
    "project": "environment",
    "running": "user code",
    "result": "result",
}
_CHECK_LOST_S = 30.0
_LAST_WORD_S = 5.0
_DELETE_HERE_S = 60.0  # how long cancel() waits to see the node gone before a detached process does


class Job(Generic[R]):
    """One remote call. Thread-safe; equal handles may exist on many machines."""

    def __init__(
        self, platform: Platform, record: JobRecord, key: str | None = None, outcome: Outcome | None = None
    ) -> None:
        self._platform = platform
        self._record = record
        self._key = key
        self._outcome = outcome
        self._checked = -math.inf  # when it was last made sure that somebody drives the job

    @property
    def id(self) -> str:
        return self._record.job_id

    @property
    def record(self) -> JobRecord:
        """What was asked, as written at submission."""
        return self._record

    def __repr__(self) -> str:
        return f"<Job {self.id} {self._record.name} on {self._record.accelerator}>"

    def status(self) -> JobStatus:
        """Where the job is now. Raises CloudError when the bucket cannot be read."""
        outcome = self._read_outcome()
        if outcome is not None:
            return outcome.status
        attempts = self.attempts
        if not attempts:
            return JobStatus.QUEUED
        status = attempts[-1].worker_status
        if status is None:
            return JobStatus.PROVISIONING
        return JobStatus.RUNNING if status.phase in ("running", "result", "done") else JobStatus.SETTING_UP

    def done(self) -> bool:
        return self._read_outcome() is not None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end; returns whether the job is done. A passing outage of the bucket is waited out."""
        poll = Poll(self._platform.clock, timeout_s=timeout_s, longest_s=1.0)
        while True:
            with contextlib.suppress(Unavailable):
                if self.done():
                    return True
            if poll.expired:
                return False
            poll.pause()

    def result(self, timeout_s: float | None = None, trust_bucket: bool = False) -> R:
        """The value, after waiting for it; raises what the function raised.

        TimeoutError (the builtin) after the caller's `timeout_s`; JobError and its kinds when the job ended
        without a value. `trust_bucket`: accept a result that cannot be verified on this machine.
        """
        self._wait_or_detach(timeout_s)
        outcome = self._read_outcome()
        assert outcome is not None
        value: R = results.load(
            self._platform,
            self._record,
            outcome,
            key=self._key,
            trust_bucket=trust_bucket,
            confirm=self._confirm,
        )
        return value

    def exception(self, timeout_s: float | None = None, trust_bucket: bool = False) -> BaseException | None:
        """What `result` would raise because of the job, or None where it succeeded."""
        self._wait_or_detach(timeout_s)
        if self.status() is JobStatus.SUCCEEDED:
            return None
        try:
            self.result(0.0, trust_bucket)
        except Exception as exc:  # whatever the user's function raised is the answer here
            return exc
        return None

    def _wait_or_detach(self, timeout_s: float | None) -> None:
        """Waits for the end. The builtin TimeoutError after `timeout_s`; Ctrl-C says that the job goes on."""
        try:
            if not self.wait(timeout_s):
                raise TimeoutError(f"job {self.id} has not ended after {timeout_s:g} s; it goes on")
        except KeyboardInterrupt:
            Console().notice(f"detached; the job goes on. Again: launcher attach {self.id}", after_ctrl_c=True)
            raise

    def log_bytes(self, worker: int = 0) -> bytes:
        """The log of the newest attempt so far, byte for byte as the function wrote it."""
        attempts = self.attempts
        if not attempts:
            return b""
        return b"".join(job_records.log_chunks(self._platform, self._record, attempts[-1].number, worker, 0))

    def logs(self, worker: int = 0) -> str:
        """The log as text; bytes that are not UTF-8 are replaced."""
        return self.log_bytes(worker).decode(errors="replace")

    def follow(self) -> None:
        """Shows the log from its start until the job ends. Ctrl-C only detaches: it says so, and is raised on."""
        console = Console()
        try:
            follow(self._platform, self, console)
        except KeyboardInterrupt:
            console.notice(f"detached; the job goes on. Again: launcher attach {self.id}", after_ctrl_c=True)
            raise

    def cancel(self) -> None:
        """Ends the job for good: nothing starts afterwards, its node is deleted. No error where it had ended."""
        if not cancel(self._platform, self._record, self._key or "", timeout_s=_DELETE_HERE_S):
            spawn_end(self._platform, self._record, self._key or "")

    @property
    def attempts(self) -> list[AttemptRecord]:
        """Executions of the job so far, oldest first."""
        return job_records.read_attempts(self._platform, self._record)

    @property
    def node(self) -> str | None:
        """The node of the newest attempt, or None where none was asked for yet."""
        attempts = self.attempts
        return attempts[-1].node if attempts else None

    def timeline(self) -> dict[str, float]:
        """Seconds that each finished part of the newest attempt took, in order: pack, wait, connect, environment,
        user code, result."""
        attempts = self.attempts
        poll = Poll(self._platform.clock, timeout_s=_LAST_WORD_S if self.done() else 0.0)
        while attempts and attempts[-1].phase != "done" and not poll.expired:
            poll.pause()  # the last status comes a moment after the outcome
            attempts = self.attempts
        status = attempts[-1].worker_status if attempts else None
        measured = {**self._record.timings_s, **(status.timings_s if status else {})}
        parts: dict[str, float] = {}
        for phase, part in _PARTS.items():
            if phase in measured:
                parts[part] = parts.get(part, 0.0) + measured[phase]
        return parts

    def _read_outcome(self) -> Outcome | None:
        if self._outcome is None:
            self._outcome = job_records.read_outcome(self._platform, self._record)
        now = self._platform.clock.monotonic()
        if self._outcome is None and now - self._checked > _CHECK_LOST_S:
            self._checked = now
            with contextlib.suppress(CloudError):  # who may not write here sees the job as it is
                settle_if_lost(self._platform, self._record, self._key or "")
                self._outcome = job_records.read_outcome(self._platform, self._record)
        return self._outcome

    def _confirm(self) -> Outcome | None:
        """What the live worker says of the attempt's end, over SSH; None where it cannot be asked."""
        try:
            return ask_worker(self._platform, self._record, self.attempts)
        except (CloudError, ConnectError):
            return None


def attach(job_id: str, profile: str | None = None) -> Job[object]:
    """The job of that id, from anywhere. `owner/job-id` names another person's. ConfigError where there is none."""
    platform = platform_of(load_profile(profile))
    owner, _, short = job_id.rpartition("/")
    owner = owner or platform.profile.owner
    if not JOB_ID.fullmatch(short):
        raise ConfigError(f"{job_id!r} is not a job id (like 20260131-093015123-abc234). List yours: launcher jobs")
    record = job_records.read(platform.store, JobPaths(owner, short).job, JobRecord)
    if record is None:
        raise ConfigError(
            f"no job {short} of {owner} in bucket {platform.profile.bucket} (profile {platform.profile.name}). "
            "List yours: launcher jobs"
        )
    return Job(platform, record, read_key(short))


def jobs(limit: int = 20, profile: str | None = None) -> list[Job[object]]:
    """Your newest jobs, newest first."""
    platform = platform_of(load_profile(profile))
    owner = platform.profile.owner
    found: list[Job[object]] = []
    for job_id in _newest(platform, owner, limit):
        record = job_records.read(platform.store, JobPaths(owner, job_id).job, JobRecord)
        if record is not None:
            found.append(Job(platform, record, read_key(job_id)))
    return found


def _newest(platform: Platform, owner: str, limit: int) -> list[str]:
    """Ids sort by time, so a listing can start at a date: the last month first, everything only when that is few."""
    prefix = jobs_prefix(owner)
    month_ago = time.strftime("%Y%m%d", time.gmtime(time.time() - 30 * 86400))
    names: list[str] = []
    for start in (prefix + month_ago, ""):
        listed = platform.store.list(prefix, start_after=start, delimiter="/")
        names = [entry.name[len(prefix) :].rstrip("/") for entry in listed]
        if len(names) >= limit:
            break
    return sorted(names, reverse=True)[:limit]
