"""What starting costs: `import launcher` and the command, beside an interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row

_BARE = (sys.executable, "-c", "pass")
_IMPORT = (sys.executable, "-c", "import launcher")
_DECORATE = (sys.executable, "-c", "import launcher\n@launcher.run\ndef f(): pass")
_HELP = (sys.executable, "-m", "launcher.cli", "--help")


def imports(sandbox: Sandbox, runs: int = 21) -> Iterator[Row]:
    for what, command in (("import launcher", _IMPORT), ("import launcher, decorate a function", _DECORATE)):
        measured, floor = _paired(sandbox, command, _BARE, runs)
        yield Row(what, "s", measured, floor, "interpreter that does nothing", 0.05, Of.ABOVE_FLOOR, runs)


def command(sandbox: Sandbox, runs: int = 21) -> Iterator[Row]:
    measured, floor = _paired(sandbox, _HELP, _BARE, runs)
    yield Row("launcher --help", "s", measured, floor, "interpreter that does nothing", 0.3, Of.MEASURED, runs)


def _paired(sandbox: Sandbox, one: Sequence[str], other: Sequence[str], runs: int) -> tuple[float, float]:
    """Medians of both commands' seconds. They take turns, so that what else the machine does falls on both."""
    for command in (one, other):
        _seconds(sandbox, command)  # the first of each compiles and fills the page cache
    pairs = [(_seconds(sandbox, one), _seconds(sandbox, other)) for _ in range(runs)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def _seconds(sandbox: Sandbox, command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, cwd=sandbox.folder, env=sandbox.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started
