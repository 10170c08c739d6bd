"""`python -m tests.benchmarks`: measures, and prints each figure beside its floor and its goal.

A table, not a test: the exit code is 0 also where a goal is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from tests.benchmarks import calling, memory, reaping, running, startup, submitting
from tests.benchmarks.sandbox import ProgramFailed, Sandbox, sandbox
from tests.benchmarks.table import Row, show

BENCHMARKS: dict[str, Callable[[Sandbox], Iterator[Row]]] = {
    "import": startup.imports,
    "help": startup.command,
    "submit": submitting.unchanged,
    "fan-out": submitting.shared,
    "warm": calling.warm,
    "first-call": calling.first,
    "runner": running.overhead,
    "reaper": reaping.pass_over_many,
    "memory": memory.peaks,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    rows: list[Row] = []
    try:
        with sandbox() as place:
            for name in options.only or BENCHMARKS:
                print(f"measuring: {name}", file=sys.stderr)
                rows += BENCHMARKS[name](place)
    except ProgramFailed as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    show(rows, as_json=options.json)
    return 0


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
