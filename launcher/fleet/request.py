"""What hardware somebody asks for: by a job, or ahead of a working session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from launcher.records.jobs import JobRecord
from launcher.records.paths import queued_resource_id


@dataclasses.dataclass(frozen=True)
class NodeRequest:
    """One node. Times in seconds. `resource_id(number)`: the id of the number-th try, counted from 1; never used
    again. `need_s`: how long the node has to live on, None where that is not known."""

    platform: str
    owner: str
    accelerator: str
    hosts: int
    runtime_version: str
    zones: tuple[str, ...]
    resource_id: Callable[[int], str]
    spot: bool = False
    spot_fallback: bool = False
    reservation: str = ""
    pools: tuple[str, ...] = ()  # of the platform: for the market asked for, and for what else spot_fallback allows
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    job: str = ""  # as in a lease: <owner>/<job id>/<attempt>
    wait_timeout_s: float | None = None
    need_s: float | None = None
    keep_warm_s: float = 0.0
    warm_for_s: float = 0.0  # a node prepared ahead: not idle for so long after it is READY
    max_lifetime_s: float = 24 * 3600.0
    shared: bool = False  # whether a node of another owner will do

    def lifetime_needed_s(self, max_lifetime_s: float) -> float:
        """How long a node of that lifetime must live on to be used: for a call without a timeout, half of it."""
        return self.need_s if self.need_s is not None else min(max_lifetime_s, self.max_lifetime_s) / 2


def of_job(job: JobRecord, attempt: int) -> NodeRequest:
    """The node that an attempt of a job needs."""
    return NodeRequest(
        platform=job.platform,
        owner=job.owner,
        accelerator=job.accelerator,
        hosts=job.hosts,
        runtime_version=job.runtime_version,
        zones=job.zones,
        resource_id=lambda number: queued_resource_id(job.platform, job.job_id, attempt, number),
        spot=job.spot,
        spot_fallback=job.spot_fallback,
        reservation=job.reservation,
        pools=job.pools,
        labels=job.labels,
        job=f"{job.owner}/{job.job_id}/{attempt}",
        wait_timeout_s=job.wait_timeout_s,
        need_s=job.timeout_s,
        keep_warm_s=job.keep_warm_s,
        max_lifetime_s=job.max_lifetime_s,
    )
