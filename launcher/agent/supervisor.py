"""One attempt on one worker, from its lease to its outcome. Its own process: no connection has to last for it."""

from __future__ import annotations

import dataclasses
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.agent import chips, diagnosis, environment, job_environment, processes, unpack
from launcher.agent.blobs import Blobs
from launcher.agent.failures import AgentError, AttemptFailed, Stopped, StopRequest
from launcher.agent.home import AttemptFolder, Home, write_atomic
from launcher.agent.lease import LeaseKeeper
from launcher.agent.log import Pump, Uploader
from launcher.agent.publish import Publisher
from launcher.agent.rest import HttpError, Unreachable
from launcher.agent.services import Services
from launcher.agent.status import Phases
from launcher.agent.task import Ending, Task, read_ending
from launcher.agent.timing import Clock, Timing
from launcher.records import codec
from launcher.records.jobs import ErrorInfo
from launcher.records.paths import JobPaths
from launcher.records.spec import Spec


class Supervisor:
    """Runs the attempt of `spec` in `folder`. To be used once, by the main thread of a process of its own."""

    def __init__(
        self, spec: Spec, home: Home, folder: AttemptFolder, stop: StopRequest, timing: Timing, clock: Clock
    ) -> None:
        self._spec = spec
        self._home = home
        self._folder = folder
        self._stop = stop
        self._timing = timing
        self._clock = clock
        self._mark = secrets.token_hex(16)
        self._names = JobPaths(spec.job.owner, spec.job.job_id)
        self._services = Services.of(spec, stop, timing, clock)
        self._phases = Phases(
            folder,
            self._services.brief,
            self._names.worker(spec.attempt, spec.slice_index, spec.worker),
            attempt=spec.attempt,
            worker=spec.worker,
            timings_s=spec.timings_s,
            timing=timing,
            clock=clock,
        )
        self.keeper = LeaseKeeper(spec, self._services.brief, stop, timing=timing, clock=clock)
        self.services = self._services
        self.client_connected = False  # whether a client was there to hear the last word

    @property
    def leads(self) -> bool:
        """Whether this worker holds the lease and writes the outcome: worker 0 of slice 0."""
        return self._spec.worker == 0 and self._spec.slice_index == 0

    def run(self) -> None:
        """To the outcome, in the bucket and in the folder; or to the reason why there is none, in the folder."""
        write_atomic(self._folder.mark, self._mark.encode())
        self._folder.log.touch(mode=0o600)
        uploader = Uploader(
            self._services.lasting,
            lambda at: self._names.log_chunk(self._spec.attempt, self._spec.slice_index, self._spec.worker, at),
            self._folder.log,
            interval_s=self._timing.spacing_s,
            clock=self._clock,
        )
        try:
            ending = self._execute(uploader)
            self._phases.enter("result")
            publisher = Publisher(self._spec, self._folder, self._services, self._phases, self._clock)
            data = publisher.publish(ending, self._stop, uploader, leads=self.leads)
            self._tell(self._folder.outcome, data)
        except (AgentError, HttpError) as exc:
            self._tell(self._folder.error, str(exc).encode())
        except Exception as exc:  # the top of the process: whoever follows must learn of it
            traceback.print_exc()
            self._tell(self._folder.error, f"the agent failed: {type(exc).__name__}: {exc}".encode())

    def _tell(self, path: Path, data: bytes) -> None:
        """The last word to the fronts, each of which ends after it."""
        self.client_connected = self._folder.client_connected()
        write_atomic(path, data)

    def _execute(self, uploader: Uploader) -> Ending:
        """From the lease to the end of the last process of the job."""
        try:
            self._phases.enter("starting")
            self._take_over()
            threading.Thread(target=self._watch_cancel, name="cancel", daemon=True).start()
            devices = chips.devices()
            if devices:
                chips.free(devices, self._stop, self._clock)
            blobs = Blobs(self._services.setup, self._spec.job.owner, self._home)
            self._phases.enter("environment")
            python = self._environment(blobs, bool(devices))
            self._phases.enter("project")
            self._project(blobs)
            self._phases.enter("running")
            return self._run_job(python, bool(devices), uploader)
        except AttemptFailed as exc:
            return Ending(False, dataclasses.replace(exc.info, phase=self._phases.phase))
        except Stopped:
            return Ending(False)
        except (HttpError, Unreachable, OSError) as exc:
            return Ending(
                False, ErrorInfo("SetupError", f"the worker could not be set up: {exc}", phase=self._phases.phase)
            )
        finally:
            gone = processes.end_all(None, self._mark, grace_s=self._timing.stray_grace_s, clock=self._clock)
            self._folder.ended.write_text("" if gone else "some processes could not be ended")

    def _take_over(self) -> None:
        if self.leads:
            self.keeper.take_over(self._services.setup)

    def _watch_cancel(self) -> None:
        while True:
            try:
                stored = self._services.brief.read(self._names.cancel)
            except (HttpError, Unreachable, AgentError):
                stored = None
            if stored is not None:
                self._stop.request("Cancelled", "the job was cancelled")
                return
            if self._clock.wait(self._timing.cancel_poll_s, self._stop.event):
                return

    def _environment(self, blobs: Blobs, has_chips: bool) -> Path:
        with open(self._folder.setup_log, "ab", buffering=0) as log:

            def run(argv: list[str], env: Mapping[str, str]) -> int:
                # From the root folder, uv finds no settings of a project that this home folder may lie in.
                return processes.run(argv, env=env, cwd=Path("/"), output=log.fileno(), stop=self._stop)

            installer = environment.Installer(self._home, blobs, self._folder.setup_log, self._spec.index_args, run)
            return installer.build(self._spec.job, chips=has_chips)

    def _project(self, blobs: Blobs) -> None:
        job = self._spec.job
        blobs.fetch(job.payload, "payload (function and arguments)", self._folder.payload)
        if job.archive is None:
            self._folder.project.mkdir(mode=0o700)
        else:
            try:
                unpack.unpack(blobs.cached(job.archive, "project archive"), self._folder.project)
            except unpack.UnsafeArchive as exc:
                raise AttemptFailed("JobError", f"the project's archive is refused: {exc}") from exc
        task = Task(
            payload=str(self._folder.payload),
            result=str(self._folder.result),
            report=str(self._folder.report),
            project=str(self._folder.project),
            import_paths=job.import_paths,
            client_root=job.client_root,
            name=job.name,
            max_result_bytes=job.max_result_bytes,
            want_value=self.leads,
            exit_bound_s=self._timing.exit_bound_s,
        )
        write_atomic(self._folder.task, codec.encode(task))

    def _run_job(self, python: Path, has_chips: bool, uploader: Uploader) -> Ending:
        cwd = self._folder.project / self._spec.job.cwd
        cwd.mkdir(parents=True, exist_ok=True)
        env = job_environment.variables(self._spec, python=python, mark=self._mark, chips=has_chips, machine=os.environ)
        kills = diagnosis.oom_kills()
        reader, writer = os.pipe()
        pump = Pump(reader, self._folder.log, self._logged(uploader))
        # -P: neither the current folder nor the archive's place hides anything; the archive itself is importable.
        argv = [str(python), "-P", sys.argv[0], "run", str(self._folder.path)]
        try:
            child = processes.Child(argv, env=env, cwd=cwd, output=writer, stop=self._stop)
        finally:
            os.close(writer)
        self._wait(child)
        stopped = self._stop.event.is_set() and child.returncode is None
        grace_s = self._timing.grace_s if stopped else self._timing.stray_grace_s
        processes.end_all(child, self._mark, grace_s=grace_s, clock=self._clock)
        pump.close()
        code = child.process.wait()
        self._phases.exit_code = code
        if stopped:
            return Ending(False)
        ending = read_ending(self._folder.report)
        if ending is not None:
            return ending
        return Ending(False, diagnosis.explain(code, oom_killed=diagnosis.oom_kills() > kills))

    def _logged(self, uploader: Uploader) -> Callable[[int], None]:
        def added(size: int) -> None:
            self._phases.log_bytes = size
            uploader.added(size)

        return added

    def _wait(self, child: processes.Child) -> None:
        """Until the child ended or a stop was requested, which the job's own timeout does."""
        timeout_s = self._spec.job.timeout_s
        give_up_at = None if timeout_s is None else self._clock.monotonic() + timeout_s
        while child.returncode is None and not self._stop.event.is_set():
            left_s = 3600.0 if give_up_at is None else give_up_at - self._clock.monotonic()
            if left_s <= 0:
                self._stop.request("TimedOut", f"the job ran longer than its timeout_s={timeout_s:g} and was stopped")
            else:
                self._clock.wait(left_s, child.changed)
