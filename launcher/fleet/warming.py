"""Nodes that are prepared ahead of a working session: created side by side, then WARM until a given time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Sequence

from launcher.cloud.seams import Progress
from launcher.config import Profile
from launcher.errors import Cancelled, CloudError, ConfigError
from launcher.fleet import freeze, lease_book
from launcher.fleet.acquire import Granted, Try, acquire
from launcher.fleet.connect import host_keys
from launcher.fleet.costs import span_words, usd_for
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.records.leases import Lease, LeaseRefused
from launcher.records.paths import new_job_id, queued_resource_id
from launcher.records.swap import Stored
from launcher.settings import Settings

_DELETE_TIMEOUT_S = 600.0  # Google takes one to three minutes


@dataclasses.dataclass(frozen=True)
class Warmed:
    """A node that became WARM at `now` and is idle at `until`, both by GCS's clock."""

    name: str
    zone: str
    spot: bool
    until: float
    now: float
    usd_per_hour: float | None

    @property
    def usd_at_most(self) -> float | None:
        """List price, if nobody uses it."""
        return usd_for(self.usd_per_hour, self.until - self.now)


def requests(profile: Profile, settings: Settings, count: int, for_s: float) -> list[NodeRequest]:
    """What such nodes are asked for with; `settings` as rules.settle completed them. ConfigError where they would not
    live as long as they are to stay warm."""
    max_lifetime_s = settings.max_lifetime_s or profile.max_lifetime_s
    if for_s > max_lifetime_s:
        raise ConfigError(
            f"Nodes of profile {profile.name} live for {span_words(max_lifetime_s)} at most (max_lifetime_s), "
            f"{span_words(for_s)} is longer. Ask for less, or raise max_lifetime_s."
        )
    ids = [new_job_id() for _ in range(count)]
    return [
        NodeRequest(
            platform=profile.platform,
            owner=profile.owner,
            accelerator=settings.accelerator.name,
            hosts=settings.accelerator.hosts,
            runtime_version=settings.runtime_version,
            zones=settings.zones or profile.zones,
            resource_id=functools.partial(queued_resource_id, profile.platform, each, 1),
            spot=settings.spot,
            spot_fallback=settings.spot_fallback,
            reservation=settings.reservation,
            pools=settings.pools,
            wait_timeout_s=settings.wait_timeout_s,
            keep_warm_s=profile.keep_warm_s if settings.keep_warm_s is None else settings.keep_warm_s,
            warm_for_s=for_s,
            max_lifetime_s=max_lifetime_s,
        )
        for each in ids
    ]


class WarmUp:
    """Some nodes, each made by a thread of its own. `cancel` may be set from any thread.

    Once it is set, or one of them has failed, every node that is not WARM is deleted. `warm`: those that are, and
    stay; `error`: the first failure; `left`: names of queued resources that may still be there.
    """

    def __init__(self, platform: Platform, holder: str) -> None:
        self.cancel = threading.Event()
        self.warm: list[Warmed] = []
        self.error: BaseException | None = None
        self.left: set[str] = set()
        self._platform = platform
        self._holder = holder
        self._ended: list[threading.Event] = []  # of each thread: a join() that a Ctrl-C interrupts takes it for ended

    def start(self, requests: Sequence[NodeRequest], progress: Sequence[Progress]) -> None:
        """Raises FleetFrozen and CloudError before anything was asked for."""
        freeze.check(self._platform)
        for number, (request, each) in enumerate(zip(requests, progress, strict=True), 1):
            ended = threading.Event()
            self._ended.append(ended)
            name = f"warm-up-{number}"
            threading.Thread(target=self._run, args=(request, each, ended), name=name, daemon=True).start()

    def wait(self) -> None:
        """Until every node is WARM or was given up. After a Ctrl-C the threads go on: call it again."""
        for ended in self._ended:
            while not ended.wait(1.0):
                pass

    def _run(self, request: NodeRequest, progress: Progress, ended: threading.Event) -> None:
        tries: list[Try] = []
        try:
            granted = acquire(
                self._platform, request, self._holder, progress, self.cancel, tries.append, self._check_wanted
            )
            with contextlib.closing(granted):
                warmed = self._leave_warm(granted, request)
            self.warm.append(warmed)
            progress.phase("warm", warmed.name)
        except BaseException as exc:  # raised on by whoever waits; after a bug too no node may stay behind
            self.error = self.error or exc
            self.cancel.set()
            if tries:
                self._give_up(tries[-1], progress)
        finally:
            ended.set()

    def _check_wanted(self) -> None:
        if self.cancel.is_set():
            raise Cancelled("cancelled before it was asked for")

    def _leave_warm(self, granted: Granted, request: NodeRequest) -> Warmed:
        """RESERVED -> HELD -> WARM in one write, with what the first session there needs to know."""
        zone, node = granted.lease.zone, granted.node
        keys = host_keys(self._platform, zone, node.name, request.hosts, self.cancel)
        granted.close()
        read: list[Stored] = []

        def step(lease: Lease, stored: Stored) -> Lease:
            read.append(stored)
            return dataclasses.replace(
                lease.hold(self._holder, "client", job="").release(self._holder),
                created=node.create_time,
                ready=stored.now,
                warm_until=stored.now + request.warm_for_s,
                host_keys=tuple(dict(each.host_keys) for each in keys),
                hostnames=tuple(each.hostname for each in keys),
            )

        lease = lease_book.change(self._platform.store, zone, granted.lease.resource, step)
        now = read[-1].now
        until = min(lease.idle_at(now), (lease.created or now) + lease.max_lifetime_s)
        return Warmed(lease.resource, zone, lease.spot, until, now, lease.usd_per_hour)

    def _give_up(self, last: Try, progress: Progress) -> None:
        name = last.queued_resource
        self.left.add(name)
        progress.phase("release", name)
        reason = "it was not ready when its warming up ended"
        try:
            gone = release(self._platform, last.zone, name, by=self._holder, reason=reason, timeout_s=_DELETE_TIMEOUT_S)
        except (CloudError, LeaseRefused) as exc:
            # Its lease is renewed by nobody: the idle shutdown sees to it, and the node itself.
            progress.notice(f"deleting {name} failed: {exc}")
        else:
            if gone:
                self.left.discard(name)
                progress.phase("released", name)
