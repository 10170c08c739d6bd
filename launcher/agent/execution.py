"""The runner's process: its task, its environment variables, its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from launcher.agent import processes
from launcher.agent.control import Attempt
from launcher.agent.log import Log
from launcher.records import codec
from launcher.records.context import CONTEXT_VARIABLE
from launcher.records.jobs import ErrorInfo
from launcher.records.paths import JobPaths
from launcher.records.spec import Spec

#: Of the login that started the agent: they would lead the job's Python elsewhere, or are that connection's own.
_DROPPED = ("VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY")


@dataclasses.dataclass(frozen=True)
class Ending:
    """What became of the job. `pickled`: the result file holds the value, or the exception where `error` is set."""

    pickled: bool = False
    error: ErrorInfo | None = None
    exit_code: int | None = None


class Runner:
    """The job's process. Its Python may start before payload and project are there: it waits for its task."""

    def __init__(self, attempt: Attempt, log: Log, mark: str, *, chips: bool) -> None:
        self._attempt = attempt
        self._log = log
        self._mark = mark
        self._chips = chips
        self._cwd = attempt.folder.project / attempt.spec.job.cwd
        self._child: subprocess.Popen[bytes] | None = None
        self._task = -1
        self.all_ended = False  # whether no process of the job is left

    @property
    def may_start_early(self) -> bool:
        """Not where Python itself looks at the project while it starts."""
        names = {**self._attempt.spec.job.env, **self._attempt.spec.secrets}
        return self._cwd == self._attempt.folder.project and not any(name.startswith("PYTHON") for name in names)

    def start(self, python: Path) -> subprocess.Popen[bytes]:
        """By the main thread, with which the process dies."""
        reader, self._task = os.pipe()
        writer = self._log.pipe()
        # -P: neither the current folder nor the archive's place hides anything; the archive itself is importable.
        argv = [str(python), "-P", sys.argv[0], "run", str(reader)]
        env = _variables(self._attempt.spec, python, self._mark, chips=self._chips)
        try:
            self._child = processes.start(argv, env, self._cwd, writer, keep=(reader,))
        finally:
            os.close(writer)
            os.close(reader)
        return self._child

    def run(self, python: Path) -> Ending:
        """Runs the job, which is unpacked in its folder, to its end and that of its processes. Without an error or
        a pickle, it was stopped."""
        spec, timing, stop = self._attempt.spec, self._attempt.timing, self._attempt.stop
        self._cwd.mkdir(parents=True, exist_ok=True)
        kills = oom_kills()
        child = self._child or self.start(python)
        with contextlib.suppress(BrokenPipeError), open(self._task, "wb") as task:  # it has ended: see below
            task.write(_task(self._attempt))
        timeout_s = spec.job.timeout_s
        ended = processes.wait(child, stop, timeout_s)
        if not ended and not stop.kind:
            stop.request("TimedOut", f"the job ran longer than its timeout_s={timeout_s:g} and was stopped")
        grace_s = timing.stray_grace_s if ended else timing.grace_s
        self.all_ended = processes.end_all(self._mark, grace_s=grace_s, child=child.pid)
        self._log.finish()
        code = child.wait()
        if not ended:
            return Ending(exit_code=code)
        try:
            ending = codec.decode(Ending, self._attempt.folder.report.read_bytes())
        except (FileNotFoundError, ValueError):
            ending = Ending(error=explain(code, oom_killed=oom_kills() > kills))
        return dataclasses.replace(ending, exit_code=code)


def _task(attempt: Attempt) -> bytes:
    folder, job = attempt.folder, attempt.spec.job
    task = {
        "payload": str(folder.payload),
        "result": str(folder.result),
        "report": str(folder.report),
        "project": str(folder.project),
        "import_paths": job.import_paths,  # relative to the project
        "client_root": job.client_root,
        "name": job.name,
        "max_result_bytes": job.max_result_bytes,
        "want_value": attempt.leads,
        "exit_bound_s": attempt.timing.exit_bound_s,
    }
    return json.dumps(task).encode()


def _variables(spec: Spec, python: Path, mark: str, *, chips: bool) -> dict[str, str]:
    """What the machine sets, then what the job asks for, then what says where it runs."""
    env = {k: v for k, v in os.environ.items() if k not in _DROPPED and not k.startswith("PYTHON")}
    env["PATH"] = f"{python.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["VIRTUAL_ENV"] = str(python.parent.parent)
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("KERAS_BACKEND", "jax")
    if chips:
        env.setdefault("JAX_PLATFORMS", "tpu,cpu")  # or JAX falls back to the CPU without a word
    root = f"gs://{spec.bucket}/{JobPaths(spec.job.owner, spec.job.job_id).root}"
    context = {
        "job_id": spec.job.job_id,
        "attempt": spec.attempt,
        "worker": spec.worker,
        "num_workers": spec.num_workers,
        "slice": spec.slice_index,
        "num_slices": spec.num_slices,
        "checkpoint_dir": root + "checkpoints",
        "output_dir": root + "outputs",
    }
    own = {CONTEXT_VARIABLE: json.dumps(context), processes.MARK_VARIABLE: mark}
    return {**env, **spec.job.env, **spec.secrets, **own}


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """How often the kernel killed a process for memory, on this machine and in this process's cgroup; 0 if unknown."""
    files = [proc / "vmstat"]
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            files.append(cgroups / line.rpartition(":")[2].lstrip("/") / "memory.events")
    count = 0
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for name, _, value in (line.partition(" ") for line in file.read_text().splitlines()):
                count += int(value) if name == "oom_kill" else 0
    return count


def explain(returncode: int, *, oom_killed: bool) -> ErrorInfo:
    """The error of a runner that ended with `returncode` (minus the signal's number) and left no report."""
    if returncode >= 0:
        message = f"the job's process ended with exit code {returncode} before the function returned"
        return ErrorInfo("JobError", message, exit_code=returncode)
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    message = f"the job's process was killed by {name}"
    if name == "SIGKILL" and oom_killed:
        message = f"the worker ran out of memory: the kernel killed the job's process ({name})"
    elif name == "SIGKILL":
        message += ": by somebody on the worker, or for memory"
    return ErrorInfo("JobError", message, signal=name)
