"""The attempt's phases: how long each took, told to the fronts at once and to the bucket now and then."""

from __future__ import annotations

import os
import threading
import time

from launcher.agent import clock
from launcher.agent.bucket import Bucket
from launcher.agent.control import AgentError, Attempt
from launcher.agent.log import Log
from launcher.agent.rest import HttpError, Unreachable
from launcher.records import codec
from launcher.records.jobs import WorkerStatus
from launcher.records.paths import JobPaths


class Phases:
    """Where the attempt is. `bucket` should be impatient: a status that cannot be written is soon outdated."""

    def __init__(self, attempt: Attempt, bucket: Bucket, log: Log) -> None:
        self._attempt = attempt
        spec = self._spec = attempt.spec
        self._events = attempt.folder.events
        self._bucket = bucket
        self._log = log
        names = JobPaths(spec.job.owner, spec.job.job_id)
        self._name = names.worker(spec.attempt, spec.slice_index, spec.worker)
        self._timing = attempt.timing
        self._generation = 0
        self._since = 0.0
        self._changed = threading.Event()
        self._done = threading.Event()
        self.phase = ""
        self.exit_code: int | None = None
        self._timings_s = dict(spec.timings_s)  # what the client measured before comes first
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def enter(self, phase: str) -> None:
        """The phase before it is over."""
        now = time.monotonic()
        if self.phase:
            self._timings_s[self.phase] = round(now - self._since, 3)
        self.phase, self._since = phase, now
        with open(self._events, "ab") as file:
            file.write(codec.encode(self._status()) + b"\n")
        self._attempt.ring()
        if phase == "done":
            self._done.set()
        self._changed.set()

    def close(self) -> None:
        """Returns when the last phase is in the bucket, or could not be written."""
        self._done.set()
        self._changed.set()
        self._thread.join()

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            attempt=self._spec.attempt,
            worker=self._spec.worker,
            phase=self.phase,
            heartbeat=clock.time(),
            pid=os.getpid(),
            exit_code=self.exit_code,
            log_bytes=self._log.size,
            timings_s=dict(self._timings_s),
        )

    def _run(self) -> None:
        # The first write waits as well: a job that is over by then needs one write, not two in a second.
        while not clock.wait(self._done, self._timing.spacing_s):
            self._changed.clear()
            self._write()
            clock.wait(self._changed, self._timing.status_s)
        self._write()

    def _write(self) -> None:
        data = codec.encode(self._status())
        try:
            for _ in range(2):
                written = self._bucket.replace(self._name, data, self._generation)
                if written is not None:
                    self._generation = written
                    return
                stored = self._bucket.read(self._name)  # an earlier write of ours, whose answer was lost
                self._generation = 0 if stored is None else stored.generation
        except (HttpError, Unreachable, AgentError):
            return  # the next one may arrive; the outcome does not depend on it
