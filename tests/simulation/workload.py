"""What a team asks for: who calls what, when, how long it runs, and what goes wrong. Deterministic by its seed."""

from __future__ import annotations

import dataclasses
import math
import random

DAY_S = 86400.0
OWNERS = ("ada", "bob", "eve", "kim", "lin", "max")
#: accelerator and share of the sessions
ACCELERATORS = (("v5litepod-1", 0.5), ("v5litepod-8", 0.4), ("v6e-8", 0.1))
_MEDIAN_RUN_S = 5 * 60.0
_SPREAD = 1.4  # of the logarithm: a few runs take hours
_LONGEST_S = 10 * 3600.0
_THINK_S = 6 * 60.0  # mean time between a result and the next call


@dataclasses.dataclass
class Call:
    """One call. `after_s`: when it is made, counted from the end of the one before it in its session."""

    number: int
    owner: str
    accelerator: str
    spot: bool
    after_s: float
    run_s: float
    client_dies: bool  # at a random moment of its wait or its run
    agent_dies: bool  # in the middle of its run: nothing renews the lease
    moment: float  # 0 to 1: where in the wait or the run

    # what became of it
    asked: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    fate: str = "waiting"
    warm: bool = False


@dataclasses.dataclass(frozen=True)
class Sitting:
    """Some calls of one person, one after another, beginning at `start` (seconds into the year)."""

    start: float
    calls: list[Call]


def sittings(days: int, seed: int) -> list[Sitting]:
    """On working days three or so sittings of a few calls for each person, in the order of their start."""
    dice = random.Random(seed)
    found, number = [], 0
    for day in range(days):
        working = day % 7 < 5
        for owner in OWNERS:
            for _ in range(_poisson(dice, 1.3 if working else 0.15)):
                hour = min(max(dice.gauss(13.5, 3.0), 0.0), 23.5)
                accelerator = dice.choices(*zip(*ACCELERATORS, strict=True))[0]
                calls = []
                for index in range(1 + _poisson(dice, 3.0)):
                    number += 1
                    calls.append(_call(dice, number, owner, str(accelerator), first=index == 0))
                found.append(Sitting(day * DAY_S + hour * 3600.0, calls))
    return sorted(found, key=lambda each: each.start)


def _call(dice: random.Random, number: int, owner: str, accelerator: str, *, first: bool) -> Call:
    return Call(
        number,
        owner,
        accelerator,
        spot=dice.random() < 0.3,
        after_s=0.0 if first else dice.expovariate(1 / _THINK_S),
        run_s=min(dice.lognormvariate(math.log(_MEDIAN_RUN_S), _SPREAD), _LONGEST_S),
        client_dies=dice.random() < 0.03,
        agent_dies=dice.random() < 0.01,
        moment=dice.random(),
    )


def outages(days: int, seed: int, per_month: float, mean_s: float) -> list[tuple[float, float]]:
    """Beginnings and ends of times in which something does not work."""
    dice = random.Random(seed)
    found, at = [], 0.0
    while (at := at + dice.expovariate(per_month / (30 * DAY_S))) < days * DAY_S:
        end = at + dice.expovariate(1 / mean_s)
        found.append((at, end))
        at = end
    return found


def _poisson(dice: random.Random, mean: float) -> int:
    count, product = 0, dice.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * dice.random()
    return count
