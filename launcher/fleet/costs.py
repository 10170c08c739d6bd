"""What nodes and jobs cost at list prices, summed from the records. Never a bill: no invoice is read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

from launcher.fleet import job_records
from launcher.fleet.job_records import AttemptRecord
from launcher.fleet.parallel import parallel
from launcher.fleet.platform import Platform
from launcher.records.jobs import JobRecord
from launcher.records.leases import MAX_LIFETIME_S, Lease, LeaseState
from launcher.records.paths import LEASES, JobPaths, jobs_prefix
from launcher.records.policy import PolicySettings
from launcher.records.swap import Stored

_PARALLEL = 8
_BEFORE_S = MAX_LIFETIME_S  # a record that was written so long before may be of something that goes on
_NOT_ON_NODE = ("pack", "wait", "connect")  # phases of a job that pass before it has its node


@dataclasses.dataclass(frozen=True)
class NodeCost:
    """One node of the launcher's, from READY to its end (now, while `alive`). usd_per_hour: None is unknown."""

    name: str
    zone: str
    accelerator: str
    spot: bool
    owner: str
    alive: bool
    start: float  # epoch seconds
    lived_s: float
    busy_s: float
    jobs: int
    usd_per_hour: float | None

    @property
    def idle_s(self) -> float:
        return self.lived_s - self.busy_s

    @property
    def usd(self) -> float | None:
        return usd_for(self.usd_per_hour, self.lived_s)


@dataclasses.dataclass(frozen=True)
class JobCost:
    """What one job had a node for, all attempts together."""

    job_id: str
    name: str
    owner: str
    nodes: tuple[str, ...]
    busy_s: float
    usd: float | None


@dataclasses.dataclass(frozen=True)
class Costs:
    """Nodes and jobs that ended after `since`, or have not ended; what began before counts whole."""

    since: float
    nodes: tuple[NodeCost, ...]
    jobs: tuple[JobCost, ...]

    @property
    def lived_s(self) -> float:
        return sum(each.lived_s for each in self.nodes)

    @property
    def busy_s(self) -> float:
        return sum(each.busy_s for each in self.nodes)

    @property
    def idle_s(self) -> float:
        return sum(each.idle_s for each in self.nodes)

    @property
    def usd(self) -> float:
        """Of the nodes whose price is known."""
        return sum(each.usd or 0.0 for each in self.nodes)


def sum_costs(platform: Platform, since_s: float, *, all_owners: bool = False) -> Costs:
    """The last `since_s` seconds, from leases and job records; the caller's own, or everybody's. CloudError."""
    since = platform.store.time() - since_s
    names = [each.name for each in platform.store.list(LEASES) if each.updated >= since - _BEFORE_S]
    leases = {each[0].resource: each for each in parallel(lambda name: _lease(platform, name), names, _PARALLEL)}
    owners = _owners(platform) if all_owners else [platform.profile.owner]
    jobs = parallel(lambda job: _runs(platform, job[0], job[1], since), _job_names(platform, owners, since), _PARALLEL)
    runs = [run for each in jobs for run in each]
    paid = [
        (lease, stored)
        for lease, stored in leases.values()
        if _is_paid(platform, lease, since, stored) and (all_owners or lease.owner in owners)
    ]
    nodes = [*parallel(lambda pair: _node(platform, pair[0], pair[1], runs), paid, _PARALLEL)]
    nodes += [_without_lease(run) for run in runs if run.resource not in leases and run.busy_s]
    prices = {lease.resource: lease.usd_per_hour for lease, _ in leases.values()}
    return Costs(since, tuple(sorted(nodes, key=lambda it: it.start)), _by_job(runs, prices))


@dataclasses.dataclass(frozen=True)
class _Run:
    """One attempt on a node."""

    job: JobRecord
    resource: str
    zone: str
    start: float
    busy_s: float


def _lease(platform: Platform, name: str) -> tuple[Lease, Stored]:
    stored = platform.store.read(name)
    assert stored is not None
    return job_records.parse(stored, name, Lease), stored


def _is_paid(platform: Platform, lease: Lease, since: float, stored: Stored) -> bool:
    """Whether the node was this platform's to pay for, was ever there, and had not ended by `since`."""
    ended = lease.state is LeaseState.CONDEMNED and stored.updated < since
    ours = lease.platform == platform.profile.platform and not lease.external
    return ours and not ended and bool(lease.ready or lease.created)


def _node(platform: Platform, lease: Lease, stored: Stored, runs: Iterable[_Run]) -> NodeCost:
    alive = lease.state is not LeaseState.CONDEMNED
    end = stored.now if alive else stored.updated
    if alive and platform.nodes.get_queued_resource(lease.zone, lease.resource) is None:
        # It was deleted without a word in its lease: it lived for as long as the lease was good, at most.
        alive = False
        good_until = lease.idle_at(stored.updated) if lease.state is LeaseState.WARM else stored.updated + lease.ttl_s
        end = min(end, good_until)
    start = lease.ready or lease.created
    lived_s = max(end - start, 0.0)
    mine = [run for run in runs if run.resource == lease.resource]
    return NodeCost(
        name=lease.resource,
        zone=lease.zone,
        accelerator=lease.accelerator,
        spot=lease.spot,
        owner=lease.owner,
        alive=alive,
        start=start,
        lived_s=lived_s,
        # The lease knows everybody's jobs up to its last write, the records those that run as well.
        busy_s=min(max(lease.busy_s, sum(run.busy_s for run in mine)), lived_s),
        jobs=len({run.job.job_id for run in mine}),
        usd_per_hour=lease.usd_per_hour,
    )


def _without_lease(run: _Run) -> NodeCost:
    """A node whose lease record is gone: what its job had it for is all that is known."""
    job = run.job
    price, busy_s = job.usd_per_hour, run.busy_s
    return NodeCost(
        run.resource, run.zone, job.accelerator, job.spot, job.owner, False, run.start, busy_s, busy_s, 1, price
    )


def _owners(platform: Platform) -> list[str]:
    return [each.name.split("/")[1] for each in platform.store.list("owners/", delimiter="/")]


def _job_names(platform: Platform, owners: Iterable[str], since: float) -> list[tuple[str, str]]:
    """Owner and id of every job that may have run since then. Ids sort by time: older ones are not even listed."""
    names: list[tuple[str, str]] = []
    for owner in owners:
        prefix = jobs_prefix(owner)
        first = prefix + time.strftime("%Y%m%d-%H%M%S", time.gmtime(max(since - _BEFORE_S, 0.0)))
        listed = platform.store.list(prefix, start_after=first, delimiter="/")
        names += [(owner, each.name[len(prefix) :].rstrip("/")) for each in listed]
    return names


def _runs(platform: Platform, owner: str, job_id: str, since: float) -> list[_Run]:
    """Every attempt of one job; none where it ended before `since`, or is not this platform's."""
    paths = JobPaths(owner, job_id)
    outcome = platform.store.read(paths.outcome)
    if outcome is not None and outcome.updated < since:
        return []
    job = job_records.read(platform.store, paths.job, JobRecord)
    if job is None or job.platform != platform.profile.platform:
        return []
    attempts = job_records.read_attempts(platform, job)
    runs = []
    for each in attempts:
        busy_s = _busy_s(each, running=outcome is None and each is attempts[-1])
        runs.append(_Run(job, each.queued_resource, each.zone, each.created, busy_s))
    return runs


def _busy_s(attempt: AttemptRecord, *, running: bool) -> float:
    status = attempt.worker_status
    if status is None:
        return 0.0
    if running:
        return max(time.time() - attempt.created - sum(status.timings_s.get(each, 0.0) for each in _NOT_ON_NODE), 0.0)
    return sum(seconds for phase, seconds in status.timings_s.items() if phase not in _NOT_ON_NODE)


def _by_job(runs: Iterable[_Run], prices: dict[str, float | None]) -> tuple[JobCost, ...]:
    grouped: dict[str, list[_Run]] = {}
    for run in runs:
        grouped.setdefault(run.job.job_id, []).append(run)
    costs = []
    for job_id, mine in grouped.items():
        job, busy_s = mine[0].job, sum(run.busy_s for run in mine)
        each = [usd_for(prices.get(run.resource, job.usd_per_hour), run.busy_s) for run in mine]
        usd = None if None in each else sum(part or 0.0 for part in each)
        nodes = tuple(dict.fromkeys(run.resource for run in mine))
        costs.append(JobCost(job_id, job.name, job.owner, nodes, busy_s, usd))
    return tuple(sorted(costs, key=lambda it: it.job_id))


# --- in words -----------------------------------------------------------------------------------------------


def goodbye(lease_idle_at: float, now: float, usd_per_hour: float | None, name: str, simulated: bool) -> str:
    """The line that a call ends with where its node stays warm. Both times by GCS's clock."""
    left_s = max(lease_idle_at - now, 0.0)
    # The node's own timer is the last to act: so much later than the idle time.
    usd = usd_for(usd_per_hour, left_s + 2 * PolicySettings().margin_s)
    price = "list price unknown" if usd is None else f"at most {usd_words(usd)} list price"
    if simulated:
        price = "SIMULATED, no cost"
    until = clock_words(lease_idle_at, now)
    return f"warm until {until} ({span_words(left_s)}, {price}); end it: launcher nodes down {name}"


def usd_for(usd_per_hour: float | None, seconds: float) -> float | None:
    return None if usd_per_hour is None else usd_per_hour * seconds / 3600


def usd_words(usd: float | None) -> str:
    return "unknown" if usd is None else f"${usd:,.2f}"


def span_words(seconds: float) -> str:
    """`45 s`, `15 min`, `24 h`, `1 h 30 min`, `3 d 4 h`: the two largest units."""
    if round(seconds) < 60:
        return f"{max(seconds, 0.0):.0f} s"
    minutes = round(seconds / 60)
    days = minutes // 1440 if minutes >= 2 * 1440 else 0
    hours, minutes = minutes // 60 - 24 * days, minutes % 60
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if n]
    return " ".join(parts[:2])


def clock_words(at: float, now: float) -> str:
    """Local time: `14:32`; with its date where that is not today's."""
    here, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M" if here[:3] == today[:3] else "%Y-%m-%d %H:%M", here)
