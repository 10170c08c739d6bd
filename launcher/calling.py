"""A blocking call and a submission, as the decorated function makes them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.cancelling import request_cancel
from launcher.cloud import preload
from launcher.errors import LauncherError
from launcher.fleet.engine import Engine
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
    """Runs the call to its end: log here, value back, node gone."""
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
    finally:
        if running is not None:
            running.join()


def _record(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    console: Console,
) -> Submission:
    settings = _settings(function, options)
    return record_call(function, args, kwargs, settings, console)


def _settings(function: Callable[..., Any], options: Mapping[str, Any]) -> Settings:
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
        self._ended = threading.Event()
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
        """Until the node is gone, or handed to a detached process that sees to it."""
        if self._left:
            return
        try:
            while self._thread.is_alive():
                self._thread.join(1.0)
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
                f"cancelling job {job.job_id}, deleting its node (Ctrl-C again: leave at once)", after_ctrl_c=True
            )
            self._cancel.set()
            with contextlib.suppress(LauncherError):  # for a driver elsewhere; the one here knows
                request_cancel(self._submission.platform, job)
            self.join()
        except KeyboardInterrupt:
            self._leave()
            raise
        self._console.notice(f"cancelled. What happened: launcher logs {job.job_id}")

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
        spawn_end(self._submission.platform, self._submission.record, self._submission.key)

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as exc:  # the caller's thread raises it
            self._failure = exc
        finally:
            self._ended.set()

    def _on_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._ended.set()
