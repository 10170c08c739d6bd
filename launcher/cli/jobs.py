"""`launcher jobs` and `launcher cancel`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import (
    human_age,
    iso_time,
    json_option,
    notice,
    print_json,
    print_table,
    profile_option,
)

if TYPE_CHECKING:
    from launcher.job import Job

_PARALLEL = 8  # a status takes some four reads of 50 ms each


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="How many, newest first (default 20).")
@profile_option
@json_option
def jobs(limit: int, profile: str | None, as_json: bool) -> None:
    """List your newest jobs."""
    from launcher.job import jobs as list_jobs

    documents = describe_all(list_jobs(limit, profile))
    if as_json:
        print_json(documents)
        return
    if not documents:
        notice("no jobs yet")
        return
    now = time.time()
    rows = [
        [
            each["id"],
            each["name"],
            each["status"],
            each["accelerator"],
            human_age(now - each["created_s"]),
            each["node"] or "-",
        ]
        for each in documents
    ]
    print_table(["id", "name", "status", "accelerator", "age", "node"], rows, right=["age"], fold=["name", "node"])


@click.command()
@click.argument("job_id", metavar="JOB")
@profile_option
@json_option
def cancel(job_id: str, profile: str | None, as_json: bool) -> None:
    """End a job for good and delete its node.

    A job that had ended stays as it is; a node that it left is deleted.
    """
    from launcher.job import attach

    job = attach(job_id, profile)
    had_ended = job.done()
    job.cancel()
    if as_json:
        print_json(document(job))
    elif had_ended:
        print(f"job {job.id} had ended: {job.status()}")
    else:
        print(f"job {job.id} is {job.status()}")


def document(job: Job[Any]) -> dict[str, Any]:
    """A job as JSON. Reads its status and its attempts."""
    record = job.record
    return {
        "id": job.id,
        "name": record.name,
        "status": job.status().value,
        "accelerator": record.accelerator,
        "node": job.node,
        "created": iso_time(record.created),
        "created_s": record.created,
        "owner": record.owner,
    }


def describe_all(found: Sequence[Job[Any]]) -> list[dict[str, Any]]:
    """The documents of several jobs, in their order."""
    if not found:
        return []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(document, found))
