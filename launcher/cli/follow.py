"""`launcher logs` and `launcher attach`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import json_option, notice, print_json, profile_option
from launcher.errors import ConfigError, RemoteTraceback

if TYPE_CHECKING:
    from launcher.job import Job


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends; Ctrl-C only detaches.")
@click.option("--worker", type=click.IntRange(0), default=0, metavar="K", help="Whose log (default: worker 0).")
@profile_option
@json_option
def logs(job_id: str, follow: bool, worker: int, profile: str | None, as_json: bool) -> None:
    """Print a job's log.

    A pipe or file gets every byte; a terminal all but escape sequences that could harm it. With --json and
    --follow: one document, when the job has ended.
    """
    from launcher.job import attach as attach_job
    from launcher.terminal import Console

    job = attach_job(job_id, profile)
    if worker >= job.record.hosts:
        raise ConfigError(f"Job {job.id} has no worker {worker}: {job.record.accelerator} has {_hosts(job)}.")
    if follow and worker:
        raise ConfigError(f"--follow shows worker 0. For the log so far: launcher logs {job.id} --worker {worker}")
    if as_json:
        if follow:
            with detaching(job):
                job.wait()
        print_json({"id": job.id, "worker": worker, "log": job.logs(worker)})
    elif follow:
        job.follow()
    else:
        Console().log(job.log_bytes(worker), worker)


def _hosts(job: Job[Any]) -> str:
    count = job.record.hosts
    return "one worker, number 0" if count == 1 else f"workers 0 to {count - 1}"


@click.command()
@click.argument("job_id", metavar="JOB")
@profile_option
@json_option
@click.pass_context
def attach(ctx: click.Context, job_id: str, profile: str | None, as_json: bool) -> None:
    """Follow a job to its end.

    Shows its log from the start, then how it ended; exit 1 when it failed or was cancelled. Ctrl-C only detaches.
    With --json: one document, when the job has ended.
    """
    from launcher.cli.jobs import document
    from launcher.job import attach as attach_job
    from launcher.records.jobs import JobStatus

    job = attach_job(job_id, profile)
    if as_json:
        with detaching(job):
            job.wait()
        print_json(document(job))
    else:
        job.follow()
    status = job.status()
    if status is JobStatus.SUCCEEDED:
        notice(f"job {job.id} {status}. Its value: launcher result {job.id}")
        return
    notice(f"job {job.id} {status}: {_why(job)}")
    ctx.exit(1)


def _why(job: Job[Any]) -> str:
    from launcher.cli.failures import words

    error = job.exception(0.0)
    return words(error).splitlines()[0] if error is not None else ""


@contextlib.contextmanager
def detaching(job: Job[Any]) -> Iterator[None]:
    """Waiting for a job: Ctrl-C leaves the job alone, and says so."""
    try:
        yield
    except KeyboardInterrupt as exc:
        if isinstance(exc.__cause__, RemoteTraceback):  # the function's own, raised on the worker
            raise
        notice(f"detached; the job goes on. Again: launcher attach {job.id}")
        raise
