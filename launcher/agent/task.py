"""What the supervisor tells the runner, and what the runner says of its end: two files in the attempt's folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from launcher.records import codec
from launcher.records.jobs import ErrorInfo


@dataclasses.dataclass(frozen=True)
class Task:
    """What to do. Paths are absolute."""

    payload: str
    result: str
    report: str
    project: str
    import_paths: tuple[str, ...]  # relative to the project
    client_root: str
    name: str
    max_result_bytes: int
    want_value: bool = True
    exit_bound_s: float = 10.0  # for atexit functions; lingering threads get no time at all


@dataclasses.dataclass(frozen=True)
class Ending:
    """What became of it. `pickled`: the result file holds the value, or the exception where `error` is set."""

    pickled: bool
    error: ErrorInfo | None = None


def read_ending(path: Path) -> Ending | None:
    """The report of a runner; None where it ended without a (readable) one."""
    try:
        return codec.decode(Ending, path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
