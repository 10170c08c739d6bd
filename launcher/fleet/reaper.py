"""One pass over everything that this platform has: list, judge by records/policy.py, condemn, delete.

Nothing is waited for and nothing is remembered: what a pass leaves undone (it died, an answer was lost, a zone was
down) the next one finds in the same state and finishes. Several at once do no harm, as the lease's generation decides.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from launcher.cloud.seams import Node, ObjectInfo, QueuedResource
from launcher.errors import ApiDisabled, CloudError, LauncherError, PermissionDenied
from launcher.fleet import lease_book
from launcher.fleet.lost_jobs import end_job
from launcher.fleet.parallel import parallel
from launcher.fleet.platform import Platform
from launcher.fleet.reap_log import Decision, Entry, Report, Tally, log_json
from launcher.records import codec, paths
from launcher.records.leases import RENEW_S, Lease, LeaseRefused, LeaseState
from launcher.records.paths import LEASES
from launcher.records.platform import PlatformFile, StandingNode
from launcher.records.policy import POOL_LABEL, Keep, NodeFacts, PolicySettings, QueuedFacts, Reap, is_ours, verdict
from launcher.records.swap import Stored, swap

__all__ = ["Decision", "Entry", "Judge", "Report", "log_json", "reap"]

_ZONES_AT_ONCE = 16
_ITEMS_AT_ONCE = 32
_FRESH_S = 2 * RENEW_S  # a lease that was written so lately belongs to somebody who is alive
_YOUNG_S = 3600.0  # the shortest max_lifetime_s that is looked up in a lease that is renewed all the time
_WAITING = ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES")  # a queued resource without a node, which costs nothing


class Judge(Protocol):
    """As policy.verdict."""

    def __call__(
        self,
        node: NodeFacts | None,
        lease: tuple[Lease, float] | None,
        queued_resource: QueuedFacts | None,
        now: float,
        settings: PolicySettings,
    ) -> Keep | Reap: ...


def _place(one: Decision) -> tuple[str, str]:
    return one.zone, one.resource


def reap(
    platform: Platform,
    settings: PolicySettings,
    *,
    zones: Sequence[str] | None = None,
    dry_run: bool = False,
    verbose: bool = False,
    log: Callable[[Entry], object] = log_json,
    judge: Judge = verdict,
    skip_fresh: bool = True,
) -> Report:
    """One pass over `zones` (None: the profile's, and wherever a lease is). An error ends nothing but what it hit.

    `log` gets one entry per decision (of kept ones only when `verbose`) and per error, and at the end one with the
    numbers of the pass. Ours is what label and id say, and what is registered in platform.json. `skip_fresh`: leases
    that the listing alone proves alive are not read.
    """
    return _Pass(platform, settings, dry_run, verbose, log, judge, skip_fresh).run(zones)


@dataclasses.dataclass(frozen=True)
class _Item:
    """One thing to judge: a queued resource with its oldest node, a node that stands alone, or a lease alone."""

    zone: str
    resource: str  # what its lease is called after
    queued: QueuedResource | None = None
    node: Node | None = None
    listed: ObjectInfo | None = None  # its lease
    standing: StandingNode | None = None  # as Terraform registered it

    @property
    def shown(self) -> QueuedResource | Node:
        return self.queued or self.node or Node("", "")


@dataclasses.dataclass
class _Pass:
    platform: Platform
    settings: PolicySettings
    dry_run: bool
    verbose: bool
    log: Callable[[Entry], object]
    judge: Judge
    skip_fresh: bool
    now: float = 0.0
    file: PlatformFile | None = None
    tally: Tally = dataclasses.field(default_factory=Tally)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    decisions: list[Decision] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)

    def run(self, zones: Sequence[str] | None) -> Report:
        leases: dict[str, dict[str, ObjectInfo]] = {}
        try:
            self.now = self.platform.store.time()
            # Before the queued resources: each of those was created after its lease.
            for info in self.platform.store.list(LEASES):
                zone, _, file = info.name[len(LEASES) :].partition("/")
                leases.setdefault(zone, {})[file.removesuffix(".json")] = info
        except CloudError as exc:
            self._fail("", "", f"the leases cannot be listed, so nothing is decided: {exc}", exc)
            return self._report()
        try:
            self.file = self.platform.read_file()
        except LauncherError as exc:
            self._fail("", "", f"Terraform's nodes without a label are left as they are: {exc}", exc)
        sure = zones or self.platform.profile.zones
        places = list(dict.fromkeys(sure if zones else [*sure, *leases]))
        found = parallel(lambda zone: self._items(zone, leases.get(zone, {}), zone in sure), places, _ZONES_AT_ONCE)
        due = [item for items in list(found) for item in items if not self._alive(item)]
        list(parallel(self._handle, due, _ITEMS_AT_ONCE))
        return self._report()

    def _report(self) -> Report:
        deleted = sum(each.action == "delete" for each in self.decisions)
        name = self.platform.profile.platform
        self.log(self.tally.entry(name, deleted, len(self.errors), dry_run=self.dry_run))
        return Report(tuple(sorted(self.decisions, key=_place)), tuple(sorted(self.errors)))

    def _items(self, zone: str, leases: dict[str, ObjectInfo], sure: bool) -> list[_Item]:
        """All of ours in a zone; nothing where a list failed, as nothing may be taken for absent then. `sure`: there is
        such a zone; one that only a lease names may have been misspelled, and is refused then."""
        try:
            # In this order: a node whose queued resource is not in the list has none, or one that is quite new.
            resources = list(self.platform.nodes.list_queued_resources(zone))
            nodes = sorted(self.platform.nodes.list_nodes(zone), key=lambda each: each.create_time)
        except CloudError as exc:
            if sure or not isinstance(exc, PermissionDenied):
                self._fail(zone, "", f"{zone} is left as it is: {exc}", exc)
            return []
        owner_of = {node: each.name for each in resources for node in each.nodes}
        oldest: dict[str, Node] = {}
        for node in nodes:
            oldest.setdefault(owner_of.get(node.name) or node.queued_resource or node.name, node)
        found = [_Item(zone, each.name, each, oldest.get(each.name), leases.get(each.name)) for each in resources]
        known = {each.name for each in resources}
        found += [_Item(zone, name, None, it, leases.get(name)) for name, it in oldest.items() if name not in known]
        known.update(oldest)
        if self.file is not None:
            found = [dataclasses.replace(each, standing=self.file.standing(zone, each.resource)) for each in found]
        platform = self.platform.profile.platform
        items = [each for each in found if each.standing or is_ours(each.shown.name, each.shown.labels, platform)]
        items += [_Item(zone, name, listed=info) for name, info in leases.items() if self._is_orphan(name, info, known)]
        return items

    def _is_orphan(self, name: str, info: ObjectInfo, known: set[str]) -> bool:
        """A lease alone. One that nobody wrote for longer than any node lives is left to the bucket's lifecycle."""
        recent = self.now < info.updated + self.settings.max_lifetime_s
        return name not in known and name.startswith(f"{self.platform.profile.platform}-") and recent

    def _alive(self, item: _Item) -> bool:
        fresh = item.listed is not None and self.now < item.listed.updated + _FRESH_S
        started = (item.node or item.queued or Node("", "", create_time=self.now)).create_time
        young = self.now < started + min(_YOUNG_S, self.settings.max_lifetime_s)
        if not (self.skip_fresh and fresh and young):
            return False
        self._tell(item, "keep", "its lease was written just now")
        self.tally.count(item.zone, item.node, None, self.now, self.settings.max_lifetime_s, alive=True)
        return True

    def _handle(self, item: _Item) -> None:
        try:
            self._decide(item)
        except (LauncherError, RuntimeError) as exc:  # RuntimeError: somebody deletes records under our hands
            self._fail(item.zone, item.resource, f"{item.resource} in {item.zone}: {exc}", exc)

    def _decide(self, item: _Item) -> None:
        store = self.platform.store
        found = lease_book.read(store, item.zone, item.resource) if item.listed is not None else None
        lease, stored = self._limited(item, *found) if found else (None, None)
        settings = item.standing.unleased(self.settings) if item.standing else self.settings
        exists = item.queued is not None or item.node is not None
        if lease is not None and not exists and lease.platform != self.platform.profile.platform:
            return
        now = stored.now if stored else self.now
        seen = (lease, stored.updated) if lease and stored else None
        if exists and not (lease and lease.external):
            leased = (lease, stored) if lease and stored else None
            with self.lock:
                self.tally.count(item.zone, item.node, leased, now, settings.max_lifetime_s)
        it = item.node
        node = NodeFacts(it.name, it.state, it.create_time, it.labels) if it else None
        decided = self.judge(node, seen, self._queued_facts(item), now, settings)
        if isinstance(decided, Keep):
            self._tell(item, "keep", decided.reason)
        else:
            action = "drain" if decided.drain else "delete" if exists else "condemn"
            if not self.dry_run and not self._claim(item, decided, lease, stored):
                self._tell(item, "keep", f"its lease changed meanwhile; it was: {decided.reason}")
                return
            self._tell(item, action, decided.reason)
            if action == "delete" and not self.dry_run:
                self._delete(item)
        doomed = isinstance(decided, Reap) or (lease is not None and lease.state is LeaseState.CONDEMNED)
        if doomed and lease is not None and stored is not None and not self.dry_run:
            ended = end_job(self.platform, lease, stored, decided.reason)
            if ended:
                self._entry("NOTICE", ended, item.zone, item.resource, event="job")

    def _limited(self, item: _Item, lease: Lease, stored: Stored) -> tuple[Lease | None, Stored]:
        """The lease within what the control bucket says, as a job can write leases. None where it is about an earlier
        node of Terraform's, under the same id."""
        if (item.standing or lease.standing) and lease.outlived(stored.updated, item.shown.create_time):
            return None, stored
        if item.standing is not None:
            return item.standing.within(lease), stored
        if item.queued or item.node:  # its label and its id say whose it is
            lease = dataclasses.replace(lease, external=False)
        pool = self.file.pools.get(item.shown.labels.get(POOL_LABEL, "")) if self.file else None
        if pool is not None:
            keep_warm_s = min(lease.keep_warm_s, pool.keep_warm_s)
            max_lifetime_s = min(lease.max_lifetime_s, pool.max_lifetime_s)
            lease = dataclasses.replace(lease, keep_warm_s=keep_warm_s, max_lifetime_s=max_lifetime_s)
        return lease, stored

    def _queued_facts(self, item: _Item) -> QueuedFacts | None:
        queued = item.queued
        if queued is None:
            return None
        # Nobody's client needs to wait for one of Terraform's: it is never forgotten in the queue.
        waits = item.standing is not None and item.node is None and queued.state in _WAITING
        created = self.now if waits else queued.create_time
        return QueuedFacts(queued.name, queued.state, created, queued.labels, queued.nodes)

    def _claim(self, item: _Item, decided: Reap, lease: Lease | None, stored: Stored | None) -> bool:
        """Condemns or drains the very generation that was judged; False where somebody else wrote first."""
        if lease is None or stored is None:
            owner = item.shown.labels.get("launcher-owner", "")
            wanted = Lease(
                item.resource,
                item.zone,
                self.platform.profile.platform,
                owner,
                LeaseState.CONDEMNED,
                "",
                "",
                reason=decided.reason,
                standing=item.standing is not None,
                created=item.node.create_time if item.node else item.shown.create_time,
            )
            generation = stored.generation if stored else 0
        elif lease.state is LeaseState.CONDEMNED:
            return True
        else:
            generation = stored.generation
            try:
                if decided.drain:
                    wanted = lease.drain(stored.now + self.settings.drain_s, decided.reason)
                else:
                    wanted = lease.condemn(decided.reason, by="", updated=stored.updated, now=stored.now)
            except LeaseRefused:
                return False
        name = paths.lease(item.zone, item.resource)
        return swap(self.platform.store, name, codec.encode(wanted), generation) is not None

    def _delete(self, item: _Item) -> None:
        """Asks; the next pass asks again where it is still there."""
        if item.queued is not None:
            self.platform.nodes.delete_queued_resource(item.zone, item.queued.name)
        elif item.node is not None:
            self.platform.nodes.delete_node(item.zone, item.node.name)

    def _tell(self, item: _Item, action: str, reason: str) -> None:
        with self.lock:
            self.decisions.append(Decision(item.zone, item.resource, action, reason))
        if action == "keep" and not self.verbose:
            return
        severity = "INFO" if action == "keep" else "NOTICE"
        message = f"{'would ' if self.dry_run else ''}{action} {item.resource} in {item.zone}: {reason}"
        self._entry(severity, message, item.zone, item.resource, event="decision", action=action, reason=reason)

    def _fail(self, zone: str, resource: str, message: str, exc: Exception) -> None:
        with self.lock:
            self.errors.append(message)
        denied = isinstance(exc, (PermissionDenied, ApiDisabled))
        self._entry("ERROR", message, zone, resource, event="error", denied=denied)

    def _entry(self, severity: str, message: str, zone: str, resource: str, **more: object) -> None:
        about = {"zone": zone, "resource": resource, **more, "dry_run": self.dry_run}
        with self.lock:
            self.log({"severity": severity, "message": message, **about})
