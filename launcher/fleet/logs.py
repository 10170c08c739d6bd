"""A job's log: from its chunks in the bucket, or live from the worker."""

from __future__ import annotations

import io
from collections.abc import Iterator

from launcher.fleet.platform import Platform
from launcher.records.jobs import JobRecord
from launcher.records.paths import JobPaths


def chunks(platform: Platform, job: JobRecord, attempt: int, worker: int, offset: int) -> Iterator[bytes]:
    """The bytes of one worker's log from `offset` on, as far as they are in the bucket, without a gap."""
    prefix = JobPaths(job.owner, job.job_id).log_prefix(attempt, 0, worker)
    for info in platform.store.list(prefix):
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
