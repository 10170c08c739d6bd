"""The attempt's phases: how long each took, told to the fronts at once and to the bucket now and then."""

from __future__ import annotations

import os
import threading

from launcher.agent.bucket import Bucket
from launcher.agent.failures import AgentError
from launcher.agent.home import AttemptFolder
from launcher.agent.rest import HttpError, Unreachable
from launcher.agent.timing import Clock, Timing
from launcher.records import codec
from launcher.records.jobs import WorkerStatus


class Phases:
    """Where the attempt is. `bucket` should be impatient: a status that cannot be written is soon outdated."""

    def __init__(
        self,
        folder: AttemptFolder,
        bucket: Bucket,
        name: str,
        *,
        attempt: int,
        worker: int,
        timings_s: dict[str, float],
        timing: Timing,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._bucket = bucket
        self._name = name
        self._attempt = attempt
        self._worker = worker
        self._timing = timing
        self._clock = clock
        self._generation = 0
        self._since = clock.monotonic()
        self._writing = threading.Lock()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self.phase = ""
        self.stopped_in = ""  # the last phase in which a stop can have hit
        self.exit_code: int | None = None
        self.log_bytes = 0
        self.timings_s = dict(timings_s)  # what the client measured before comes first
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def enter(self, phase: str) -> None:
        """The phase before it is over. `done` is also written to the bucket before this returns."""
        now = self._clock.monotonic()
        if self.phase:
            self.timings_s[self.phase] = round(now - self._since, 3)
        self.phase, self._since = phase, now
        if phase not in ("result", "done"):
            self.stopped_in = phase
        with open(self._folder.events, "ab") as file:
            file.write(codec.encode(self._status()) + b"\n")
        if phase == "done":
            self._closed.set()
            self._write()
        self._changed.set()

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            attempt=self._attempt,
            worker=self._worker,
            phase=self.phase,
            heartbeat=self._clock.time(),
            pid=os.getpid(),
            exit_code=self.exit_code,
            log_bytes=self.log_bytes,
            timings_s=dict(self.timings_s),
        )

    def _run(self) -> None:
        # The first write waits as well: a job that is over by then needs one write, not two in a second.
        while not self._clock.wait(self._timing.spacing_s, self._closed):
            self._changed.clear()
            self._write()
            self._clock.wait(self._timing.status_s, self._changed)

    def _write(self) -> None:
        with self._writing:
            if self._closed.is_set() and self.phase != "done":
                return
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
