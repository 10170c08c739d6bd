"""What a call on a warm node costs: in a process that has made one before, and in a new one."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row

_IMPORTS = "import cloudpickle, google.cloud.storage, google.cloud.tpu_v2, paramiko"


def warm(sandbox: Sandbox, runs: int = 31) -> Iterator[Row]:
    """No-op calls one after another, each beside the same steps by hand on the same connections."""
    sandbox.simulate()
    project = sandbox.project("warm")
    pairs = sandbox.program(project, "warm", "calls", str(runs))
    measured, floor = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    what = "warm no-op call from a running process"
    yield Row(what, "s", measured, floor, "put payload, exec, get result", 1.5, Of.RATIO, runs)


def first(sandbox: Sandbox, runs: int = 7) -> Iterator[Row]:
    """A new process that makes one call on a warm node, from its start to its end."""
    sandbox.simulate()
    project = sandbox.project("first-call")
    command = [sys.executable, "warm.py", "first"]
    sandbox.run(command, project)
    pairs = []
    for _ in range(runs):
        started = time.perf_counter()
        sandbox.run(command, project)
        called = time.perf_counter()
        sandbox.run([sys.executable, "-c", _IMPORTS], project)
        pairs.append((called - started, time.perf_counter() - called))
    measured, floor = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    what = "first call of a new process on a warm node"
    yield Row(what, "s", measured, floor, "Python importing Google's libraries", 1.5, Of.MEASURED, runs)
