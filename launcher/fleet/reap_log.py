"""What a pass of the reaper tells: one entry for each decision and error, and one with its numbers at the end."""

from __future__ import annotations

import dataclasses
import json
import sys

from launcher.accelerators import list_price
from launcher.cloud.seams import Node
from launcher.records.leases import Lease, LeaseState
from launcher.records.swap import Stored

_LATE_S = 30 * 60.0  # a node that is so much older than its max_lifetime should be gone by any line of defence

Entry = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a pass did with one resource, or in a dry run would have done. action: delete, drain, condemn, keep; of a
    cluster also empty and mark."""

    zone: str
    resource: str
    action: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """`errors`: one line for each zone that could not be listed and each resource that could not be dealt with."""

    decisions: tuple[Decision, ...]
    errors: tuple[str, ...]

    @property
    def acted(self) -> tuple[Decision, ...]:
        return tuple(each for each in self.decisions if each.action != "keep")


def log_json(entry: Entry) -> None:
    """One line of structured logging, as Google's log agent reads it from standard output."""
    sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@dataclasses.dataclass
class Tally:
    """The numbers of one pass, as it found things: what the dashboard shows and the alerts watch.

    `busy`: nodes that somebody holds; `idle`: that nobody does, `idle_s` since when, all together. What is being
    deleted is neither. `waiting`: queued resources without a node. `usd_per_hour`: list price of all nodes.
    """

    nodes: int = 0
    busy: int = 0
    idle: int = 0
    waiting: int = 0
    over_lifetime: int = 0
    oldest_s: float = 0.0
    idle_s: float = 0.0
    jobs: int = 0
    usd_per_hour: float = 0.0

    def count(
        self,
        zone: str,
        node: Node | None,
        found: tuple[Lease, Stored] | None,
        now: float,
        max_lifetime_s: float,
        *,
        alive: bool = False,
    ) -> None:
        """One queued resource or node of ours. `alive`: its lease was not read, as it was written just now: it counts
        as one that runs a job."""
        if node is None:
            self.waiting += 1
            return
        lease, stored = found or (None, None)
        age_s = now - node.create_time if node.create_time else 0.0
        self.nodes += 1
        self.oldest_s = max(self.oldest_s, age_s)
        self.over_lifetime += age_s > (lease.max_lifetime_s if lease else max_lifetime_s) + _LATE_S
        self.usd_per_hour += (lease and lease.usd_per_hour) or list_price(node.accelerator, zone, node.spot) or 0.0
        if lease is None or stored is None:
            busy, since = alive, node.create_time or now
        elif lease.state is LeaseState.CONDEMNED:
            return
        else:
            busy = lease.state is not LeaseState.WARM and not lease.expired_as(stored)
            since = stored.updated
        self.jobs += alive or (busy and lease is not None and lease.job != "")
        self.busy += busy
        self.idle += not busy
        self.idle_s += 0.0 if busy else max(now - since, 0.0)

    def entry(self, platform: str, deleted: int, errors: int, *, dry_run: bool) -> Entry:
        """The last entry of a pass."""
        numbers = {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in dataclasses.asdict(self).items()
        }
        message = (
            f"pass over platform {platform}: {self.nodes} nodes, {self.busy} busy, {self.idle} idle, "
            f"{self.waiting} waiting; {deleted} {'would be ' if dry_run else ''}deleted, {errors} errors"
        )
        more = {"deleted": deleted, "errors": errors, "dry_run": dry_run}
        return {"severity": "INFO", "event": "pass", "message": message, **numbers, **more}
