"""`launcher result`: a job's value, printed or saved."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.failures import JobFailed
from launcher.cli.follow import detaching
from launcher.cli.output import clean, human_bytes, json_option, notice, print_json, profile_option
from launcher.errors import RemoteTraceback

if TYPE_CHECKING:
    from launcher.job import Job


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
    from launcher.job import attach

    job = attach(job_id, profile)
    value = _value(job, trust_bucket)
    if output is not None:
        _save(value, output)
        notice(f"saved to {output}, {human_bytes(output.stat().st_size)}: a pickle")
    if as_json:
        print_json(_document(job, value))
    elif output is None:
        print(clean(repr(value)))


def _value(job: Job[Any], trust_bucket: bool) -> Any:
    try:
        with detaching(job):
            return job.result(trust_bucket=trust_bucket)
    except BaseException as exc:  # the user's function may have raised anything, KeyboardInterrupt included
        if isinstance(exc.__cause__, RemoteTraceback):
            raise JobFailed(job.id) from exc
        raise


def _document(job: Job[Any], value: Any) -> dict[str, Any]:
    document = {"id": job.id, "status": job.status().value, "repr": repr(value)}
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            document["value"] = value
    except (TypeError, ValueError, RecursionError):  # not JSON
        pass
    return document


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
