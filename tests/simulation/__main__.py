"""`python -m tests.simulation`: plays a year and says what it used, what idled, what leaked and what it cost.

Exit code 1 where a node outlived its bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from launcher.fleet import pool, reaper
from tests.fleet.actors import serial
from tests.fleet.world import START
from tests.simulation.report import per_day, report, show
from tests.simulation.workload import outages, sittings
from tests.simulation.year import Year

BUILD = Path(__file__).resolve().parents[2] / "build" / "simulation"


def play(days: int, seed: int) -> Year:
    """A whole year, to the last node's end."""
    dice = random.Random(seed + 2)
    year = Year(
        sittings(days, seed),
        function_down=outages(days, seed + 3, per_month=3.0, mean_s=6 * 3600.0),
        api_down=outages(days, seed + 4, per_month=2.0, mean_s=600.0),
        preempt=lambda: dice.expovariate(1.0),
    )
    # One thread: the same seed is the same year.
    with mock.patch.object(pool, "parallel", serial), mock.patch.object(reaper, "parallel", serial):
        year.run()
    return year


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of the picture (default: build/simulation)")
    parser.add_argument("--json", action="store_true", help="print JSON, and draw nothing")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    year = play(options.days, options.seed)
    found = report(options.days, year.calls, year.lives)
    if options.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        from tests.simulation.picture import draw

        print(show(found))
        path = draw(options.out, found, per_day(options.days, year.lives, START))
        print(f"\npicture: {path}\nplayed in {time.perf_counter() - started:.1f} s")
    return 1 if found.leaked_h > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
