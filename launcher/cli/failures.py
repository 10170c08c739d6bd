"""From an exception to the lines that a person sees."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import click

from launcher.cli.output import clean
from launcher.errors import ConfigError, LauncherError, RemoteError, RemoteTraceback
from launcher.records.leases import LeaseRefused


class JobFailed(Exception):
    """What the user's function raised, kept apart from the exceptions of this process. `__cause__` is it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


@dataclass(frozen=True)
class Lines:
    """`errors`: one line (or more, where the installer or a worker said more) per problem.
    `context`: what is shown before them, with its line ends."""

    errors: tuple[str, ...]
    context: str = ""


def describe(exc: Exception) -> Lines | None:
    """What to tell of an exception; None for a bug, whose traceback is the message."""
    if isinstance(exc, JobFailed):
        cause = exc.__cause__
        assert cause is not None
        return Lines((clean(f"job {exc.job_id} failed: {words(cause)}"),), remote_traceback(cause))
    if isinstance(exc, ConfigError):
        return Lines(tuple(map(clean, exc.problems)))
    if isinstance(exc, LauncherError):
        return Lines((clean(str(exc)),), remote_traceback(exc))
    if isinstance(exc, click.ClickException):
        return Lines((exc.format_message(),))
    if isinstance(exc, OSError):
        said = f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else str(exc)
        return Lines((clean(said),))
    from launcher.sim.control import SimulatorError

    if isinstance(exc, (LeaseRefused, SimulatorError)):
        return Lines((clean(str(exc)),))
    return None


def words(exc: BaseException) -> str:
    """Type and message. An error of the library is its message alone: the type adds nothing for a reader."""
    if isinstance(exc, LauncherError) and not isinstance(exc, RemoteError):
        return str(exc)
    if isinstance(exc, RemoteError):
        return str(exc)  # starts with the remote type's name
    return "".join(traceback.format_exception_only(exc)).rstrip("\n")


def remote_traceback(exc: BaseException) -> str:
    """The traceback on the worker, "" where none came."""
    cause = exc.__cause__
    return f"{clean(cause.text.rstrip())}\n" if isinstance(cause, RemoteTraceback) and cause.text else ""
