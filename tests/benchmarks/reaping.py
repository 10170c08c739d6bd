"""What one pass of the reaper costs this machine, whatever the network costs."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator

from launcher.fleet.reaper import reap
from launcher.records import paths
from launcher.records.leases import LeaseState
from launcher.records.policy import PolicySettings
from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row
from tests.fleet.many import OTHER_ZONE, ZONE, Fleet

_NODES = 10_000


def pass_over_many(sandbox: Sandbox, runs: int = 3) -> Iterator[Row]:
    """Two zones, every lease to be read, one node in ten to be deleted."""
    seen = [_measure(_fleet()) for _ in range(runs)]
    measured, floor = (statistics.median(each) for each in zip(*seen, strict=True))
    what = f"reaper pass over {_NODES:,} nodes, process CPU time"
    yield Row(what, "s", measured, floor, "json.loads of their leases", 10.0, Of.MEASURED, runs)


def _measure(fleet: Fleet) -> tuple[float, float]:
    bodies = [stored.data for name in _names() if (stored := fleet.store.read(name)) is not None]
    floor = _cpu_s(lambda: [json.loads(each) for each in bodies])
    return _cpu_s(lambda: reap(fleet.platform, PolicySettings(), log=lambda entry: None)), floor


def _fleet() -> Fleet:
    fleet = Fleet()
    for number in range(_NODES):
        name, zone = f"p-{number:05}", _zone(number)
        fleet.add(name, zone=zone)
        idle = number % 20 < 2
        fleet.lease(name, LeaseState.WARM if idle else LeaseState.HELD, 1000 if idle else 200, zone=zone)
    return fleet


def _names() -> list[str]:
    return [paths.lease(_zone(number), f"p-{number:05}") for number in range(_NODES)]


def _zone(number: int) -> str:
    return (ZONE, OTHER_ZONE)[number % 2]


def _cpu_s(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before
