"""Every object name in the jobs bucket and in the control bucket, and the shape of ids."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time

OWNER = re.compile(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?")
JOB_ID = re.compile(r"\d{8}-\d{9}-[a-z2-7]{6}")
LEASES = "leases/"  # one folder per zone below it
FREEZE = "freeze.json"  # in the control bucket
PLATFORM = "platform.json"  # likewise; written by Terraform
CLUSTERS = "clusters.json"  # likewise
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def new_job_id(now: float | None = None) -> str:
    """A job id that sorts by time: UTC date, time to the millisecond, six random characters."""
    now = time.time() if now is None else now
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}{int(now * 1000) % 1000:03d}-{''.join(secrets.choice(_BASE32) for _ in range(6))}"


def new_token() -> str:
    """What a writer puts into a record, so that after a lost answer it can tell its own write."""
    return secrets.token_hex(8)


def queued_resource_id(platform: str, job_id: str, attempt: int, number: int = 1) -> str:
    """The id of the `number`-th queued resource of one attempt; never used again. Its node is called `<id>-0`."""
    return f"{platform}-{job_id}-a{attempt}" + (f"-{number}" if number > 1 else "")


def holder_id(owner: str, host: str, pid: int) -> str:
    """Who holds a lease: one session of a client process, never the same twice."""
    return f"{owner}@{host}:{pid}-{secrets.token_hex(4)}"


def node_id(queued_resource: str) -> str:
    """The id of the node of a queued resource with one slice."""
    return f"{queued_resource}-0"


def blob(owner: str, sha256: str) -> str:
    """A payload, archive, lock or tool, named by its content."""
    return f"owners/{owner}/blobs/{sha256}"


def lease(zone: str, resource_id: str) -> str:
    """The lease of one queued resource (or of a node that stands alone)."""
    return f"{zone_leases(zone)}{resource_id}.json"


def zone_leases(zone: str) -> str:
    return f"{LEASES}{zone}/"


def jobs_prefix(owner: str) -> str:
    return f"owners/{owner}/jobs/"


@dataclasses.dataclass(frozen=True)
class JobPaths:
    """Object names of one job."""

    owner: str
    job_id: str

    @property
    def root(self) -> str:
        return f"{jobs_prefix(self.owner)}{self.job_id}/"

    @property
    def job(self) -> str:
        return self.root + "job.json"

    @property
    def cancel(self) -> str:
        return self.root + "cancel.json"

    @property
    def outcome(self) -> str:
        return self.root + "outcome.json"

    @property
    def attempts(self) -> str:
        return self.root + "attempts/"

    def intent(self, attempt: int, number: int = 1) -> str:
        return f"{self.attempts}{attempt}/intent{f'-{number}' if number > 1 else ''}.json"

    def worker(self, attempt: int, slice_index: int, worker: int) -> str:
        return f"{self.attempts}{attempt}/workers/{slice_index}-{worker}.json"

    def log_prefix(self, attempt: int, slice_index: int, worker: int) -> str:
        return f"{self.attempts}{attempt}/log/{slice_index}-{worker}/"

    def log_chunk(self, attempt: int, slice_index: int, worker: int, offset: int) -> str:
        """Chunk names are zero-padded so that a listing is in byte order."""
        return f"{self.log_prefix(attempt, slice_index, worker)}{offset:016d}"

    def result(self, attempt: int) -> str:
        return f"{self.attempts}{attempt}/result.pkl"
