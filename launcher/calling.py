"""A blocking call and a submission, as the decorated function makes them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from launcher.cancelling import request_cancel
from launcher.cloud import preload
from launcher.errors import LauncherError
from launcher.fleet.engine import Engine
from launcher.fleet.session import sessions_of
from launcher.job import Job
from launcher.records.jobs import Outcome
from launcher.settings import Settings, resolve
from launcher.submission import Submission, agent_file, spawn_driver, spawn_end
from launcher.submission import submit as record_call
from launcher.terminal import Console

_RELEASE_HERE_S = 3.0  # how long a finished call waits to see its node gone before a detached process does


def submit(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Job[Any]:
    """Records the call, starts its detached driver, returns the handle."""
    console = Console()
    submission = _record(function, args, kwargs, options, console)
    spawn_driver(submission)
    job_id = submission.record.job_id
    console.notice(f"job {job_id}. Follow it: launcher attach {job_id}")
    return Job(submission.platform, submission.record, submission.key)


def call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Runs the call to its end: log here, value back, node gone or warm for the next call."""
    with _told_of_its_end():
        return _call(function, args, kwargs, options)


class _Terminated(BaseException):
    """This process was told to end."""


@contextlib.contextmanager
def _told_of_its_end() -> Iterator[None]:
    """SIGTERM and a closed terminal raise _Terminated, and end the process after it; unless the program heeds them."""
    told: list[int] = []

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # who asks twice means it
        told.append(number)
        raise _Terminated

    here = threading.current_thread() is threading.main_thread()
    ours = [each for each in (signal.SIGTERM, signal.SIGHUP) if here and signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
        for number in told:
            os.kill(os.getpid(), number)


def _call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    console = Console()
    running = None
    try:
        submission = _record(function, args, kwargs, options, console)
        console.notice(f"job {submission.record.job_id}")
        preload("google.cloud.tpu_v2", "paramiko")
        running = _Running(submission, console)
        return running.value()
    except KeyboardInterrupt:
        if running is not None:
            running.interrupt()
        raise
    except _Terminated:
        if running is not None:
            running.abandon()
        raise
    finally:
        try:
            if running is not None:
                running.join()
        finally:
            console.close()


def _record(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    console: Console,
) -> Submission:
    settings = settings_of(function, options)
    return record_call(function, args, kwargs, settings, console)


def settings_of(function: Callable[..., Any], options: Mapping[str, Any]) -> Settings:
    """Options with the environment and the project's own file: read at the call, as both may have changed."""
    from launcher.shipping.project import locate

    place = locate(function, options.get("project_root") or os.environ.get("LAUNCHER_PROJECT_ROOT"))
    return resolve(options, None if place.lone else place.root)


class _Running:
    """The engine in a thread of its own, so that the caller's thread can be interrupted at any point."""

    def __init__(self, submission: Submission, console: Console) -> None:
        self._submission = submission
        self._console = console
        self._cancel = threading.Event()
        self._ended = threading.Event()  # there is an outcome, or a failure
        self._over = threading.Event()  # the thread is done, with the node too
        self._outcome: Outcome | None = None
        self._failure: BaseException | None = None
        self._left = False
        self._engine = Engine(
            submission.platform,
            submission.record,
            agent_file(),
            submission.key,
            submission.secrets,
            submission.index_args,
            console,
            self._cancel,
            sessions_of(submission.platform),
            on_outcome=self._on_outcome,
            release_timeout_s=_RELEASE_HERE_S,
        )
        self._thread = threading.Thread(target=self._run, name="launcher-engine", daemon=True)

    def value(self) -> Any:
        """Runs the job; its value, as soon as that is there."""
        self._thread.start()
        while not self._ended.wait(1.0):
            pass
        if self._failure is not None:
            raise self._failure
        submission = self._submission
        return Job(submission.platform, submission.record, submission.key, self._outcome).result()

    def join(self) -> None:
        """Until the node is left warm, gone, or handed to a detached process that sees to it."""
        if self._left:
            return
        try:
            # Not Thread.join, which calls a thread ended that a Ctrl-C interrupted it in (CPython 3.11).
            while self._thread.ident is not None and not self._over.wait(1.0):
                pass
        except KeyboardInterrupt:
            self._leave()
            raise
        if self._engine.intent is not None:
            self._left = True
            self._spawn_end()

    def interrupt(self) -> None:
        """The first Ctrl-C: cancels, then waits for the node's deletion. A second one leaves at once."""
        job = self._submission.record
        if self._outcome is not None:
            self._console.notice(
                f"job {job.job_id} had ended: {self._outcome.status}. See: launcher result {job.job_id}",
                after_ctrl_c=True,
            )
            return
        try:
            self._console.notice(
                f"cancelling job {job.job_id} (Ctrl-C again: leave at once, deleting its node)", after_ctrl_c=True
            )
            self._cancel.set()
            with contextlib.suppress(LauncherError):  # for a driver elsewhere; the one here knows
                request_cancel(self._submission.platform, job)
            self.join()
        except KeyboardInterrupt:
            self._leave()
            raise
        self._console.notice(f"cancelled. What happened: launcher logs {job.job_id}")

    def abandon(self) -> None:
        """This process ends now. A job that its worker has runs on; else another process deletes the node."""
        needed = not self._engine.started if self._outcome is None else self._engine.intent is not None
        if needed:
            self._leave()
        self._left = True

    def _leave(self) -> None:
        """Whatever the engine's thread was doing, which ends with this process: another one ends the job."""
        if not self._left:
            self._left = True
            self._spawn_end()
            job_id = self._submission.record.job_id
            self._console.notice(
                f"left; a background process deletes the node. See: launcher attach {job_id}", after_ctrl_c=True
            )

    def _spawn_end(self) -> None:
        submission = self._submission
        spawn_end(submission.platform, submission.record, submission.key, self._engine.intent)

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as exc:  # the caller's thread raises it
            self._failure = exc
        finally:
            self._ended.set()
            self._over.set()

    def _on_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._ended.set()
