"""The handle on a job: status, log, result, cancel. Everything is read from the records in the bucket."""

from __future__ import annotations

import contextlib
import time
from typing import Generic, TypeVar

from launcher import results
from launcher.attempts import Attempt, read_attempts
from launcher.cancelling import cancel, find_lost
from launcher.config import load_profile
from launcher.errors import CloudError, ConfigError, ConnectError, JobError, WorkerLost
from launcher.fleet import logs, stored_records
from launcher.fleet.attempt import read_outcome
from launcher.fleet.engine import settle
from launcher.fleet.platform import Platform
from launcher.following import ask_worker, follow
from launcher.records.jobs import ErrorInfo, JobRecord, JobStatus, Outcome
from launcher.records.paths import JOB_ID, JobPaths, jobs_prefix
from launcher.submission import read_key
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
_POLL_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_CHECK_LOST_S = 30.0
_UNSTARTED_S = 900.0  # a job without an intent for this long has lost its driver


class Job(Generic[R]):
    """One remote call. Thread-safe; equal handles may exist on many machines."""

    def __init__(self, platform: Platform, record: JobRecord, key: str | None = None) -> None:
        self._platform = platform
        self._record = record
        self._paths = JobPaths(record.owner, record.job_id)
        self._key = key
        self._outcome: Outcome | None = None

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
        clock = self._platform.clock
        started = checked = clock.monotonic()
        step = 0
        while True:
            with contextlib.suppress(CloudError):
                if self.done():
                    return True
                if clock.monotonic() - checked > _CHECK_LOST_S:
                    checked = clock.monotonic()
                    self._settle_if_lost()
            passed = clock.monotonic() - started
            if timeout_s is not None and passed >= timeout_s:
                return False
            pause = _POLL_S[min(step, len(_POLL_S) - 1)]
            clock.wait(pause if timeout_s is None else min(pause, max(timeout_s - passed, 0.001)))
            step += 1

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
        except KeyboardInterrupt:
            raise  # somebody's Ctrl-C here; a job's own arrives as a JobError
        except BaseException as exc:  # whatever the user's function raised is the answer here
            return exc
        return None

    def _wait_or_detach(self, timeout_s: float | None) -> None:
        """Waits for the end. The builtin TimeoutError after `timeout_s`; Ctrl-C says that the job goes on."""
        try:
            if not self.wait(timeout_s):
                raise TimeoutError(f"job {self.id} is {self.status()} after {timeout_s:g} s; it goes on")
        except KeyboardInterrupt:
            Console().notice(f"detached; the job goes on. Again: launcher attach {self.id}")
            raise

    def log_bytes(self, worker: int = 0) -> bytes:
        """The log of the newest attempt so far, byte for byte as the function wrote it."""

        attempts = self.attempts
        if not attempts:
            return b""
        return b"".join(logs.chunks(self._platform, self._record, attempts[-1].number, worker, 0))

    def logs(self, worker: int = 0) -> str:
        """The log as text; bytes that are not UTF-8 are replaced."""
        return self.log_bytes(worker).decode(errors="replace")

    def follow(self) -> None:
        """Shows the log from its start until the job ends. Ctrl-C only detaches: it says so, and is raised on."""

        console = Console(workers=self._record.hosts)
        try:
            follow(self._platform, self, console)
        except KeyboardInterrupt:
            console.notice(f"detached; the job goes on. Again: launcher attach {self.id}")
            raise

    def cancel(self) -> None:
        """Ends the job for good: nothing starts afterwards, its node is deleted. No error where it had ended."""

        cancel(self._platform, self._record, self._key or "")

    @property
    def attempts(self) -> list[Attempt]:
        """Executions of the job so far, oldest first."""

        return read_attempts(self._platform, self._record)

    @property
    def node(self) -> str | None:
        """The node of the newest attempt, or None where none was asked for yet."""
        attempts = self.attempts
        return attempts[-1].node if attempts else None

    def timeline(self) -> dict[str, float]:
        """Seconds that each finished part of the newest attempt took, in order: pack, wait, connect, environment,
        user code, result."""
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
            self._outcome = read_outcome(self._platform, self._record)
        return self._outcome

    def _confirm(self) -> Outcome | None:
        """What the live worker says of the attempt's end, over SSH; None where it cannot be asked."""

        try:
            return ask_worker(self._platform, self._record, self.attempts)
        except (CloudError, ConnectError, JobError):
            return None

    def _settle_if_lost(self) -> None:
        """A job that nobody drives and no worker runs any more gets its outcome from whoever notices."""

        attempts = self.attempts
        why = find_lost(self._platform, self._record, attempts, unstarted_s=_UNSTARTED_S, now=time.time())
        if why:
            number = attempts[-1].number if attempts else 0
            settle(
                self._platform,
                self._record,
                number,
                JobStatus.FAILED,
                ErrorInfo(WorkerLost.__name__, why),
                self._key or "",
            )


def attach(job_id: str, profile: str | None = None) -> Job[object]:
    """The job of that id, from anywhere. `owner/job-id` names another person's. ConfigError where there is none."""

    platform = Platform(load_profile(profile))
    owner, _, short = job_id.rpartition("/")
    owner = owner or platform.profile.owner
    if not JOB_ID.fullmatch(short):
        raise ConfigError(f"{job_id!r} is not a job id (like 20260131-093015123-abc234). List yours: launcher jobs")
    record = stored_records.read(platform.store, JobPaths(owner, short).job, JobRecord)
    if record is None:
        raise ConfigError(
            f"no job {short} of {owner} in bucket {platform.profile.bucket} (profile {platform.profile.name}). "
            "List yours: launcher jobs"
        )
    return Job(platform, record, read_key(short))


def jobs(limit: int = 20, profile: str | None = None) -> list[Job[object]]:
    """Your newest jobs, newest first."""

    platform = Platform(load_profile(profile))
    owner = platform.profile.owner
    found: list[Job[object]] = []
    for job_id in _newest(platform, owner, limit):
        record = stored_records.read(platform.store, JobPaths(owner, job_id).job, JobRecord)
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
