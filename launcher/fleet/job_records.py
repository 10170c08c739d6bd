"""A job's records in the bucket: outcome, attempts, log."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Iterator
from typing import TypeVar

from launcher.errors import CloudError
from launcher.fleet.platform import Platform
from launcher.records import codec, paths, signing
from launcher.records.jobs import ErrorInfo, Intent, JobRecord, JobStatus, Outcome, Report, WorkerStatus
from launcher.records.paths import JobPaths
from launcher.records.swap import RecordStore, Stored, create_once

T = TypeVar("T")

_MAX_CHUNK = 1 << 20  # bytes; no log chunk of an agent is longer


def read(store: RecordStore, name: str, kind: type[T]) -> T | None:
    """The record of that name, or None where there is none. CloudError where it is not one."""
    stored = store.read(name)
    return None if stored is None else parse(stored, name, kind)


def parse(stored: Stored, name: str, kind: type[T]) -> T:
    """The record that was read under that name. CloudError where it is not one: the bucket's fault, no bug here."""
    try:
        return codec.decode(kind, stored.data)
    except ValueError as exc:
        raise CloudError(f"{name} in the bucket is damaged or not ours: {exc}") from exc


def read_outcome(platform: Platform, job: JobRecord) -> Outcome | None:
    """The job's outcome, if it has ended."""
    return read(platform.store, JobPaths(job.owner, job.job_id).outcome, Outcome)


def settle(
    platform: Platform, job: JobRecord, attempt: int, status: JobStatus, error: ErrorInfo, key: str = ""
) -> Outcome:
    """Creates the job's outcome from the client's side and returns the one that stands."""
    report = Report(job.job_id, attempt, error.worker, status, error=error, ended=time.time())
    text = codec.encode(report).decode()
    outcome = Outcome(job.job_id, status, text, signing.sign(key, text) if key else "", writer="client")
    stands = create_once(platform.store, JobPaths(job.owner, job.job_id).outcome, codec.encode(outcome))
    return codec.decode(Outcome, stands)


@dataclasses.dataclass(frozen=True)
class AttemptRecord:
    """One execution of a job on a node, or the try at it. `worker_status`: worker 0's own last word, None before it
    spoke. `made`: the node was made for it."""

    number: int
    zone: str
    node: str
    queued_resource: str
    created: float  # epoch seconds
    why: str
    worker_status: WorkerStatus | None
    holder: str = ""
    made: bool = True

    @property
    def phase(self) -> str:
        return self.worker_status.phase if self.worker_status else "provisioning"


def read_intents(platform: Platform, job: JobRecord) -> list[tuple[Intent, Stored]]:
    """Every node that an attempt tried to get, oldest first. CloudError where one that was to be made for the attempt
    has not the attempt's own id."""
    found: list[tuple[Intent, Stored]] = []
    names = JobPaths(job.owner, job.job_id)
    attempt = number = 1
    while True:
        name = names.intent(attempt, number)
        stored = platform.store.read(name)
        if stored is None:
            if number == 1:
                return found
            attempt, number = attempt + 1, 1
            continue
        intent = parse(stored, name, Intent)
        # What is deleted, and who is asked about results, follows from this: the bucket may not choose it freely.
        resource = paths.queued_resource_id(job.platform, job.job_id, attempt, number)
        if intent.made and (intent.queued_resource, intent.node) != (resource, paths.node_id(resource)):
            raise CloudError(f"{name} in the bucket is damaged or not ours: another resource")
        found.append((dataclasses.replace(intent, attempt=attempt, number=number), stored))
        number += 1


def read_attempts(platform: Platform, job: JobRecord) -> list[AttemptRecord]:
    """All attempts, oldest first, each on the last node that it tried to get. CloudError as in read_intents."""
    names = JobPaths(job.owner, job.job_id)
    last = {intent.attempt: intent for intent, _ in read_intents(platform, job)}
    return [
        AttemptRecord(
            number=number,
            zone=intent.zone,
            node=intent.node,
            queued_resource=intent.queued_resource,
            created=intent.created,
            why=intent.why,
            worker_status=read(platform.store, names.worker(number, 0, 0), WorkerStatus),
            holder=intent.holder,
            made=intent.made,
        )
        for number, intent in last.items()
    ]


def log_chunks(platform: Platform, job: JobRecord, attempt: int, worker: int, offset: int) -> Iterator[bytes]:
    """The bytes of one worker's log from `offset` on, as far as they are in the bucket, without a gap."""
    names = JobPaths(job.owner, job.job_id)
    prefix = names.log_prefix(attempt, 0, worker)
    # Whatever chunk holds byte `offset` comes after this name.
    before = names.log_chunk(attempt, 0, worker, offset - _MAX_CHUNK) if offset > _MAX_CHUNK else ""
    for info in platform.store.list(prefix, start_after=before):
        start = int(info.name[len(prefix) :])
        if start + info.size <= offset:
            continue
        if start > offset:
            return
        buffer = io.BytesIO()
        if platform.store.download(info.name, buffer, offset - start) is None:
            return
        offset = start + info.size
        yield buffer.getvalue()
