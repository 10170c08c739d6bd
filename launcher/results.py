"""From an outcome to a value or an exception. Nothing is unpickled before it is known to be the job's own."""

from __future__ import annotations

import builtins
import hashlib
import pickle
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

from launcher import errors
from launcher.fleet.platform import Platform
from launcher.records import codec, signing
from launcher.records.jobs import ErrorInfo, JobRecord, JobStatus, Outcome, Report
from launcher.records.paths import JobPaths

_CHUNK = 1 << 20


def load(
    platform: Platform,
    job: JobRecord,
    outcome: Outcome,
    *,
    key: str | None,
    trust_bucket: bool,
    confirm: Callable[[], Outcome | None],
) -> Any:
    """The job's value; raises what the job raised.

    Trusted is what is signed with `key`; without a key, what `confirm` (the live worker, over SSH) says again, or
    everything when the caller says `trust_bucket`. ResultUntrusted otherwise.
    """
    report = _report(job, outcome)
    trusted = _trusted(job, outcome, report, key=key, trust_bucket=trust_bucket, confirm=confirm)
    if report.error is not None:
        raise _exception(platform, job, report, trusted)
    if report.status is not JobStatus.SUCCEEDED:
        raise errors.JobError(f"job {job.job_id} is {report.status}")
    if not trusted:
        raise errors.ResultUntrusted(
            f"the result of job {job.job_id} cannot be verified here: this machine has not got the job's key and its "
            f"worker is gone. If everybody who can write to bucket {platform.profile.bucket} may run code here: "
            f"result(trust_bucket=True), or: launcher result {job.job_id} --trust-bucket"
        )
    return _unpickle(platform, job, report)


def _report(job: JobRecord, outcome: Outcome) -> Report:
    try:
        return codec.decode(Report, outcome.report)
    except ValueError as exc:
        raise _tampered(job) from exc


def _tampered(job: JobRecord) -> errors.ResultUntrusted:
    return errors.ResultUntrusted(
        f"the outcome of job {job.job_id} in the bucket is not what its worker signed: somebody changed it. "
        "Nothing was unpickled. Run the job again, and check who can write to the bucket."
    )


def _trusted(
    job: JobRecord,
    outcome: Outcome,
    report: Report,
    *,
    key: str | None,
    trust_bucket: bool,
    confirm: Callable[[], Outcome | None],
) -> bool:
    tampered = _tampered(job)
    if report.job_id != job.job_id or report.status is not outcome.status:
        raise tampered
    if trust_bucket:
        return True
    if key is not None:
        if outcome.signature and signing.verify(key, outcome.report, outcome.signature):
            return True
        if outcome.signature or report.status is JobStatus.SUCCEEDED:
            raise tampered
        return False  # an unsigned ending (cancelled from elsewhere): text only
    if report.status is JobStatus.CANCELLED:
        return False
    live = confirm()
    return live is not None and live.report == outcome.report


def _exception(platform: Platform, job: JobRecord, report: Report, trusted: bool) -> BaseException:
    info = report.error
    assert info is not None
    if info.kind != "exception":
        return launcher_error(job, info)
    exc: BaseException | None = None
    if trusted and report.sha256:
        try:
            exc = _unpickle(platform, job, report)
        except errors.ResultUnavailable:
            exc = None  # a type that only the worker has: its text still tells
    if not isinstance(exc, BaseException):
        exc = nearest(info)
    exc.__cause__ = errors.RemoteTraceback(info.traceback)
    return exc


def launcher_error(job: JobRecord, info: ErrorInfo) -> errors.LauncherError:
    """One of ours, by its name in the record; an unknown name is a plain JobError."""
    kind = getattr(errors, info.kind, errors.JobError)
    if not (isinstance(kind, type) and issubclass(kind, errors.LauncherError)):
        kind = errors.JobError
    before = issubclass(kind, (errors.ConfigError, errors.CloudError, errors.FleetFrozen))  # nothing ran: no log
    error = kind(info.message if before else f"{info.message}\nMore: launcher logs {job.job_id}")
    if info.traceback:
        error.__cause__ = errors.RemoteTraceback(info.traceback)
    return error


def nearest(info: ErrorInfo) -> errors.RemoteError:
    """A RemoteError that is also of the nearest built-in type, so that `except ValueError` still catches it."""
    message = f"{info.type_name}: {info.message}"
    base = getattr(builtins, info.base, None)
    if not (isinstance(base, type) and issubclass(base, Exception)) or base is Exception:
        return errors.RemoteError(message, info.type_name, info.traceback)
    name = info.type_name.rpartition(".")[2] or "RemoteError"
    try:
        # KeyError and OSError would show the message in their own way.
        namespace = {"__module__": errors.__name__, "__str__": Exception.__str__}
        kind = type(name, (errors.RemoteError, base), namespace)
        built: errors.RemoteError = kind(message, info.type_name, info.traceback)
    except (TypeError, ValueError):  # a base with a constructor of its own (UnicodeDecodeError), a name that is none
        return errors.RemoteError(message, info.type_name, info.traceback)
    return built


def _unpickle(platform: Platform, job: JobRecord, report: Report) -> Any:
    """Downloads result.pkl to a file only we can see, checks the very bytes, then unpickles them."""
    with tempfile.TemporaryFile(prefix="launcher-result-") as file:
        name = JobPaths(job.owner, job.job_id).result(report.attempt)
        size = platform.store.download(name, file)
        if size is None:
            raise errors.ResultUnavailable(
                f"the result of job {job.job_id} is no longer in bucket {platform.profile.bucket} ({name}): "
                "results are deleted after a while. Run the job again."
            )
        if size != report.size or _sha256(file) != report.sha256:
            raise errors.ResultUntrusted(
                f"the result of job {job.job_id} in the bucket is not what its worker wrote ({name}): it was changed. "
                "Nothing was unpickled. Run the job again, and check who can write to the bucket."
            )
        file.seek(0)
        try:
            return pickle.load(file)
        except ModuleNotFoundError as exc:
            raise errors.ResultUnavailable(
                f"job {job.job_id} {report.status}, but its result needs the package {exc.name!r}, which this Python "
                f"has not got. Install it, then: launcher.attach({job.job_id!r}).result()"
            ) from exc
        except Exception as exc:  # unpickling runs the classes' own code: anything can come out of it
            raise errors.ResultUnavailable(
                f"job {job.job_id} {report.status}, but its result cannot be read here: {type(exc).__name__}: {exc}"
            ) from exc


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
