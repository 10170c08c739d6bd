"""`launcher.context()`: where the code runs. Standard library only, importable on a worker."""

from __future__ import annotations

import dataclasses
import json
import os

from launcher.records.context import CONTEXT_VARIABLE


@dataclasses.dataclass(frozen=True)
class WorkerContext:
    """One worker's place in a job. The folders are URLs or paths; they are not created."""

    job_id: str
    attempt: int
    worker: int
    num_workers: int
    slice: int
    num_slices: int
    checkpoint_dir: str
    output_dir: str


def on_worker() -> bool:
    """Whether this process belongs to a job on a worker."""
    return CONTEXT_VARIABLE in os.environ


def context() -> WorkerContext:
    """The job that this process belongs to; outside a job a local stand-in with the same fields."""
    text = os.environ.get(CONTEXT_VARIABLE)
    if text is not None:
        known = {field.name for field in dataclasses.fields(WorkerContext)}
        return WorkerContext(**{name: value for name, value in json.loads(text).items() if name in known})
    local = os.path.abspath(os.path.join(".launcher", "local"))
    return WorkerContext(
        job_id="local",
        attempt=1,
        worker=0,
        num_workers=1,
        slice=0,
        num_slices=1,
        checkpoint_dir=os.path.join(local, "checkpoints"),
        output_dir=os.path.join(local, "outputs"),
    )
