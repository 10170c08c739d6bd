"""`launcher jobs`, `cancel`, `logs`, `attach` and `result`."""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import (
    human_age,
    human_bytes,
    iso_time,
    json_option,
    notice,
    print_json,
    print_table,
    profile_option,
)
from launcher.errors import ConfigError, LauncherError, RemoteTraceback
from launcher.records.jobs import JobStatus
from launcher.terminal import Console, clean

if TYPE_CHECKING:
    from launcher.job import Job

_PARALLEL = 8  # a status takes some four reads of 50 ms each


class JobFailed(Exception):
    """What the user's function raised, kept apart from the exceptions of this process. `__cause__` is it."""


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="How many, newest first (default 20).")
@profile_option
@json_option
def jobs(limit: int, profile: str | None, as_json: bool) -> None:
    """List your newest jobs."""
    from launcher.fleet.parallel import parallel
    from launcher.job import jobs as list_jobs

    documents = list(parallel(_document, list_jobs(limit, profile), _PARALLEL))
    if as_json:
        print_json(documents)
        return
    if not documents:
        notice("no jobs yet")
        return
    now = time.time()
    keys = ("id", "name", "status", "accelerator")
    rows = [[*(e[key] for key in keys), human_age(now - e["created_s"]), _node_in_use(e)] for e in documents]
    print_table(["id", "name", "status", "accelerator", "age", "node"], rows, right=["age"], fold=["name", "node"])


@click.command()
@click.argument("job_id", metavar="JOB")
@profile_option
@json_option
def cancel(job_id: str, profile: str | None, as_json: bool) -> None:
    """End a job for good and delete its node.

    A job that had ended stays as it is; a node that it left is deleted.
    """
    job = _attached(job_id, profile)
    had_ended = job.done()
    job.cancel()
    if as_json:
        print_json(_document(job))
    elif had_ended:
        print(f"job {job.id} had ended: {job.status()}")
    else:
        print(f"job {job.id} is {job.status()}")


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
    job = _attached(job_id, profile)
    count = job.record.hosts
    if worker >= count:
        has = "one worker, number 0" if count == 1 else f"workers 0 to {count - 1}"
        raise ConfigError(f"Job {job.id} has no worker {worker}: {job.record.accelerator} has {has}.")
    if follow and worker:
        raise ConfigError(f"--follow shows worker 0. For the log so far: launcher logs {job.id} --worker {worker}")
    if as_json:
        if follow:
            _wait(job)
        print_json({"id": job.id, "worker": worker, "log": job.logs(worker)})
    elif follow:
        job.follow()
    else:
        data = job.log_bytes(worker)
        Console().log(data, worker)
        if not data:
            status = job.status()
            notice(f"job {job.id} {'wrote nothing' if status.ended else 'has written nothing so far'}: {status}")


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
    job = _attached(job_id, profile)
    if as_json:
        _wait(job)
        print_json(_document(job))
    else:
        job.follow()
    error = job.exception(0.0)
    if error is None:
        notice(f"job {job.id} {job.status()}. Its value: launcher result {job.id}")
        return
    notice(f"job {job.id} {job.status()}: {_words(error).partition(chr(10))[0]}")
    ctx.exit(1)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save it as a pickle.")
@click.option("--trust-bucket", is_flag=True, help="Accept a result that this machine cannot verify.")
@profile_option
@json_option
def result(job_id: str, output: Path | None, trust_bucket: bool, profile: str | None, as_json: bool) -> None:
    """Wait for a job and print its value.

    Prints repr(value). What the function raised is shown with its traceback on the worker; exit 1. With --json,
    `value` is there when the value is JSON (numbers, text, lists, objects), `repr` always.
    """
    job = _attached(job_id, profile)
    try:
        value = job.result(trust_bucket=trust_bucket)
    except Exception as exc:  # the user's function may have raised anything
        if isinstance(exc.__cause__, RemoteTraceback):
            raise JobFailed(f"job {job.id} failed: {_words(exc)}") from exc
        raise
    if output is not None:
        _save(value, output)
        notice(f"saved to {output}, {human_bytes(output.stat().st_size)}: a pickle")
    if as_json:
        document = {"id": job.id, "status": job.status().value, "repr": repr(value)}
        print_json({**document, "value": value} if _is_json(value) else document)
    elif output is None:
        print(clean(repr(value)))


COMMANDS = (attach, cancel, jobs, logs, result)


def _attached(job_id: str, profile: str | None) -> Job[Any]:
    from launcher.job import attach as attach_job

    return attach_job(job_id, profile)


def _document(job: Job[Any]) -> dict[str, Any]:
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


def _node_in_use(document: dict[str, Any]) -> str:
    """For the table: the node of a job that has ended is gone."""
    ended = JobStatus(document["status"]).ended
    return "-" if ended or not document["node"] else str(document["node"])


def _wait(job: Job[Any]) -> None:
    try:
        job.wait()
    except KeyboardInterrupt:
        notice(f"detached; the job goes on. Again: launcher attach {job.id}")
        raise


def _words(exc: BaseException) -> str:
    """Type and message. An error of the library is its message alone: the type adds nothing for a reader."""
    return str(exc) if isinstance(exc, LauncherError) else "".join(traceback.format_exception_only(exc)).rstrip("\n")


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _save(value: Any, path: Path) -> None:
    """Whole or not at all, readable by this user only: results can hold what a job computed from secrets."""
    import cloudpickle

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            cloudpickle.dump(value, file, protocol=5)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
