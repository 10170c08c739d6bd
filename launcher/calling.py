"""A blocking call and a submission, as the decorated function makes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.cloud import preload
from launcher.fleet.engine import Engine, request_cancel
from launcher.job import Job
from launcher.records.jobs import Intent, Outcome
from launcher.settings import Settings, resolve
from launcher.submission import (
    Submission,
    agent_file,
    headline,
    spawn_driver,
    spawn_release,
)
from launcher.submission import submit as record_call
from launcher.terminal import Console

_RELEASE_HERE_S = 10.0  # how long a finished call waits to see its node gone before a detached process does


def submit(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Job[Any]:
    """Records the call, starts its detached driver, returns the handle."""
    console = Console()
    submission = _record(function, args, kwargs, options, console)
    spawn_driver(submission)
    return Job(submission.platform, submission.record, submission.key)


def call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Runs the call to its end: log here, value back, node gone."""
    console = Console()
    submission = _record(function, args, kwargs, options, console)
    preload("google.cloud.tpu_v2", "paramiko")
    running = _Running(submission, console)
    running.start()
    try:
        running.wait()
        value: Any = Job(submission.platform, submission.record, submission.key).result()
    except KeyboardInterrupt:
        running.interrupt()
        raise
    finally:
        running.join()
    return value


def _record(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    console: Console,
) -> Submission:
    settings = _settings(function, options)
    submission = record_call(function, args, kwargs, settings, console)
    console.notice(headline(submission.record))
    console.notice(f"job {submission.record.job_id}")
    return submission


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
        self._failure: BaseException | None = None
        self._leftover: list[Intent] = []
        self._engine = Engine(
            submission.platform,
            submission.record,
            agent_file(),
            submission.key,
            submission.secrets,
            console,
            self._cancel,
            index_args=submission.index_args,
            on_outcome=self._on_outcome,
            on_leftover=self._leftover.append,
            release_timeout_s=_RELEASE_HERE_S,
        )
        self._thread = threading.Thread(target=self._run, name="launcher-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Until the outcome stands; raises what kept the engine from reaching one."""
        while not self._ended.wait(1.0):
            pass
        if self._failure is not None:
            raise self._failure

    def join(self) -> None:
        """Until the node is gone, or handed to a detached process that sees to it."""
        try:
            while self._thread.is_alive():
                self._thread.join(1.0)
        except KeyboardInterrupt:
            self._leave()
            raise
        self._hand_over()

    def interrupt(self) -> None:
        """The first Ctrl-C: cancels, then waits for the node's deletion. A second one leaves at once."""
        job = self._submission.record
        try:
            self._console.notice(f"cancelling job {job.job_id} and deleting its node (Ctrl-C again: leave at once)")
            self._cancel.set()
            request_cancel(self._submission.platform, job, job.owner)
            self.join()
        except KeyboardInterrupt:
            self._leave()
            raise
        self._console.notice(f"cancelled. What happened: launcher logs {job.job_id}")

    def _leave(self) -> None:
        intent = self._engine.intent
        if intent is not None:
            spawn_release(self._submission.platform, self._submission.record, intent)
        self._console.notice(
            f"left; a background process deletes the node. See: launcher attach {self._submission.record.job_id}"
        )

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as exc:  # the caller's thread raises it
            self._failure = exc
        finally:
            self._ended.set()

    def _on_outcome(self, outcome: Outcome) -> None:
        self._ended.set()

    def _hand_over(self) -> None:
        while self._leftover:
            spawn_release(self._submission.platform, self._submission.record, self._leftover.pop())
