"""What a submission costs that sends nothing new, and what sixteen of them send."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row

_FILES = 20_000
_FOLDERS = 200
_PROJECT_BYTES = 50_000_000
_SUBMISSIONS = 16


def unchanged(sandbox: Sandbox, runs: int = 15) -> Iterator[Row]:
    """Submissions of a project that was sent before, with all its files as they were."""
    sandbox.simulate()
    project = sandbox.project("many-files")
    _fill(project)
    seen = sandbox.program(project, "resubmit", str(runs))
    submit_s, walk_s, sent, record = (statistics.median(one[key] for one in seen) for key in seen[0])
    files = f"{_FILES:,} unchanged files"
    yield Row(f"submit, {files}", "s", submit_s, walk_s, "scandir and stat of the tree", 0.2, Of.MEASURED, runs)
    yield Row(
        f"sent by a submit, {files}", "bytes", sent, record, "its job.json, stored", 1000, Of.ABOVE_FLOOR, runs
    )  # the headers of a multipart upload and the call's name are the rest


def shared(sandbox: Sandbox) -> Iterator[Row]:
    """Sixteen submissions at once of one project that the bucket has not got."""
    sandbox.simulate()
    project = sandbox.project("large")
    size = _PROJECT_BYTES // 10
    for number in range(10):
        (project / f"{number}.bin").write_bytes(os.urandom(size))  # nothing that compresses
    sent = sandbox.program(project, "fan_out", str(_SUBMISSIONS))
    yield Row(
        f"sent by {_SUBMISSIONS} submits at once of a {_PROJECT_BYTES / 1e6:.0f} MB project", "MB",
        sent / 1e6, _PROJECT_BYTES / 1e6, "the project, once", 1.05, Of.RATIO, 1,
    )  # fmt: skip


def _fill(project: Path) -> None:
    (project / ".gitignore").write_text("*.log\nbuild/\n__pycache__/\n/data/raw/**\n!keep.log\n")
    for folder in range(_FOLDERS):
        place = project / f"package{folder // 20}" / f"part{folder % 20}"
        place.mkdir(parents=True)
        for number in range(_FILES // _FOLDERS):
            (place / f"module{number}.py").write_text(f"VALUE = {folder * 1000 + number}\n")
