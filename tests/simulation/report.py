"""What the year cost, beside what simpler rules would have cost, as text."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Sequence

from launcher.accelerators import PRICES_AS_OF, hourly_usd, parse
from tests.simulation.workload import DAY_S, Call
from tests.simulation.year import POLICY, ZONE, Life

_COLD_START_S = 150.0  # from the request to a READY node, as the world has it
_SET_UP_S = 60.0  # paid: an environment is built on each new node
_FIXED_S = 4 * 3600.0  # of a naive timer that deletes a node so long after its creation, used or not


@dataclasses.dataclass(frozen=True)
class Sum:
    """Hours and dollars of list price. `wait_h`: people waiting for nodes. `killed`: jobs ended by the rule itself."""

    node_h: float = 0.0
    busy_h: float = 0.0
    usd: float = 0.0
    wait_h: float = 0.0
    killed: int = 0

    @property
    def idle_h(self) -> float:
        return self.node_h - self.busy_h


@dataclasses.dataclass(frozen=True)
class Report:
    days: int
    calls: int
    fates: dict[str, int]
    warm_starts: int
    nodes: int
    nodes_by: dict[str, int]
    ours: Sum
    leaked_h: float
    longest_idle_end_s: float  # from the last use of a node to its end, at most
    helpless_s: float  # of that time: Google's API was down, so that nobody could have deleted it
    naive: dict[str, Sum]


def report(days: int, calls: Sequence[Call], lives: Sequence[Life]) -> Report:
    """Sums of a year that has ended: every node is gone."""
    done = [call for call in calls if call.started]
    ours = Sum(
        node_h=sum(life.lived_s for life in lives) / 3600,
        busy_h=sum(life.busy_s for life in lives) / 3600,
        usd=sum(life.lived_s / 3600 * life.usd_per_hour for life in lives),
        wait_h=sum(call.started - call.asked for call in done) / 3600,
    )
    naive = {
        "delete after each call": _each_its_own(done),
        f"delete {_FIXED_S / 3600:.0f} h after creation": _reused(done, _FIXED_S),
        "keep for ever": _reused(done, None, until=max(life.gone for life in lives)),
    }
    longest = max(lives, key=lambda life: life.gone - max(life.last_use, life.ready))
    return Report(
        days=days,
        calls=len(calls),
        fates=_count(call.fate for call in calls),
        warm_starts=sum(call.warm for call in done),
        nodes=len(lives),
        nodes_by=_count(life.by for life in lives),
        ours=ours,
        leaked_h=sum(life.leaked_s for life in lives) / 3600,
        longest_idle_end_s=longest.gone - max(longest.last_use, longest.ready),
        helpless_s=longest.helpless_s,
        naive=naive,
    )


def show(found: Report) -> str:
    """The report as lines of at most 100 characters."""
    ours, bound = found.ours, (POLICY.idle_s + POLICY.margin_s) / 60 + 10
    lines = [
        f"{found.days} days, {found.calls:,} calls, {found.nodes:,} nodes; list prices of {PRICES_AS_OF}, no bill",
        "",
        f"{'calls that':<34}{'':>10}",
        *(f"  {fate:<32}{count:>10,}" for fate, count in sorted(found.fates.items(), key=lambda it: -it[1])),
        f"  {'(started on a warm node)':<32}{found.warm_starts:>10,}",
        "nodes deleted by",
        *(f"  {by:<32}{count:>10,}" for by, count in sorted(found.nodes_by.items(), key=lambda it: -it[1])),
        "",
        f"{'TPU node hours':<34}{ours.node_h:>10,.0f}",
        f"  {'used':<32}{ours.busy_h:>10,.0f}",
        f"  {'idle, waiting for the next call':<32}{ours.idle_h - found.leaked_h:>10,.0f}",
        f"  {f'leaked (idle beyond {bound:.0f} min)':<32}{found.leaked_h:>10,.2f}",
        f"{'longest time from last use to end':<34}{found.longest_idle_end_s / 60:>6,.0f} min"
        f", {found.helpless_s / 60:,.0f} of them while Google's API was down",
        "",
        f"{'':<34}{'node hours':>12}{'used':>9}{'dollars':>12}{'waiting h':>11}{'jobs killed':>13}",
        _row("this launcher", ours),
        *(_row(name, one) for name, one in found.naive.items()),
    ]
    return "\n".join(lines)


def _row(name: str, one: Sum) -> str:
    used = one.busy_h / one.node_h
    return f"{name:<34}{one.node_h:>12,.0f}{used:>9.0%}{one.usd:>12,.0f}{one.wait_h:>11,.0f}{one.killed:>13,}"


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _price(call: Call) -> float:
    return hourly_usd(parse(call.accelerator), ZONE, call.spot) or 0.0


def _each_its_own(calls: Sequence[Call]) -> Sum:
    """Every call creates a node and deletes it."""
    busy = sum(call.run_s for call in calls) / 3600
    set_up = len(calls) * _SET_UP_S / 3600
    usd = sum((call.run_s + _SET_UP_S) / 3600 * _price(call) for call in calls)
    return Sum(busy + set_up, busy, usd, len(calls) * (_COLD_START_S + _SET_UP_S) / 3600)


def _reused(calls: Sequence[Call], lives_s: float | None, until: float = 0.0) -> Sum:
    """Nodes are reused by whoever wants the same kind, and live so long whatever happens; None is to the end."""
    nodes: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}  # kind -> (free from, ends)
    node_s = busy_s = usd = wait_s = 0.0
    killed = 0
    for call in sorted(calls, key=lambda each: each.asked):
        pool = nodes.setdefault((call.owner, call.accelerator, call.spot), [])
        free = next((one for one in pool if one[0] <= call.asked < one[1]), None)
        if free is None:
            start = call.asked + _COLD_START_S
            ends = start + lives_s if lives_s is not None else until
            node_s, usd = node_s + ends - start, usd + (ends - start) / 3600 * _price(call)
            wait_s += _COLD_START_S + _SET_UP_S
        else:
            start, ends = call.asked, free[1]
            pool.remove(free)
        end = min(start + call.run_s, ends)
        killed += end < start + call.run_s
        busy_s += end - start
        heapq.heappush(pool, (end, ends))
    return Sum(node_s / 3600, busy_s / 3600, usd, wait_s / 3600, killed)


def per_day(days: int, lives: Sequence[Life], start: float) -> tuple[list[float], list[float], list[float]]:
    """Node hours used, node hours idle, and dollars of each day."""
    busy, alive, usd = ([0.0] * (days + 2) for _ in range(3))
    for life in lives:
        for day, seconds in _days(life.ready - start, life.gone - start):
            alive[day] += seconds / 3600
            usd[day] += seconds / 3600 * life.usd_per_hour
        for begin, end in life.busy_spans:
            for day, seconds in _days(begin - start, end - start):
                busy[day] += seconds / 3600
    idle = [max(0.0, one - other) for one, other in zip(alive, busy, strict=True)]
    return busy[:days], idle[:days], usd[:days]


def _days(begin: float, end: float) -> Iterable[tuple[int, float]]:
    day = int(begin // DAY_S)
    while begin < end:
        until = min(end, (day + 1) * DAY_S)
        yield day, until - begin
        begin, day = until, day + 1
