"""What the client hands the agent on standard input: one attempt on one worker, secrets included.

Never written to a disk, an argv, an environment of ours or the bucket as a whole.
"""

from __future__ import annotations

import dataclasses

from launcher.records.jobs import JobRecord


@dataclasses.dataclass(frozen=True)
class Spec:
    """One attempt on one worker."""

    job: JobRecord
    attempt: int
    zone: str
    queued_resource: str
    project: str
    bucket: str
    storage_endpoint: str  # root URL without a version, e.g. https://storage.googleapis.com
    tpu_endpoint: str
    lease_token: str  # the token of the HELD lease to take over; "" where the agent's session holds it already
    key: str = dataclasses.field(repr=False)  # the job's HMAC key, hexadecimal
    secrets: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    holder: str = ""  # of the lease
    worker: int = 0
    num_workers: int = 1
    slice_index: int = 0
    num_slices: int = 1
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)  # client phases: wait, connect
    index_args: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)  # UV_* for the installer
