"""The job's Python environment: built from its lock with uv, once per worker, and never seen half-built."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.agent import home as homes
from launcher.agent.blobs import Blobs
from launcher.agent.failures import AttemptFailed
from launcher.agent.home import Home
from launcher.agent.log import tail
from launcher.records.jobs import Blob, JobRecord

_TAIL_LINES = 30


@dataclasses.dataclass(frozen=True)
class Installer:
    """Builds environments. `run(argv, env)` runs one command, its output going to `log`, and returns its exit code."""

    home: Home
    blobs: Blobs
    log: Path
    index_args: Mapping[str, str]
    run: Callable[[list[str], Mapping[str, str]], int]

    def build(self, job: JobRecord, *, chips: bool) -> Path:
        """The Python of an environment with what the job's lock names. AttemptFailed (SetupError) where that fails."""
        blob = job.lock_tpu if chips else job.lock_cpu
        path = self.home.environment(f"{blob.sha256}-{job.python}")
        python = path / "bin" / "python"
        held = homes.lock(path.with_name(path.name + ".lock"), wait=True)
        try:
            for stale in path.parent.glob(path.name + ".tmp-*"):  # of builds that were killed: we hold the lock
                shutil.rmtree(stale, ignore_errors=True)
            if not os.access(python, os.X_OK):  # also where the Python that it was made with is gone
                shutil.rmtree(path, ignore_errors=True)
                self._install(job, self.blobs.cached(blob, "dependency lock"), path)
        finally:
            if held is not None:
                os.close(held)
        return python

    def _install(self, job: JobRecord, lock: Path, path: Path) -> None:
        uv = str(self._uv(job.uv))
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        python = str(temporary / "bin" / "python")
        try:
            self._step(
                f"Python {job.python} for the job",
                [uv, "venv", "--no-project", "--relocatable", "--python", job.python, str(temporary)],
            )
            self._step(
                "the job's packages",
                [
                    *(uv, "pip", "sync", "--require-hashes", "--allow-empty-requirements"),
                    *("--python", python, str(lock)),
                ],
            )
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _step(self, what: str, argv: list[str]) -> None:
        code = self.run(argv, self._environment())
        if code != 0:
            said = tail(self.log, _TAIL_LINES) or "no message"
            raise AttemptFailed(
                "SetupError",
                f"{what} could not be installed on the worker (exit code {code}). The installer said:\n{said}",
            )

    def _environment(self) -> dict[str, str]:
        defaults = {
            "UV_SYSTEM_CERTS": "1",  # an organisation's own roots are in the machine image, not in uv
            "UV_PYTHON_INSTALL_DIR": str(self.home.pythons),
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }
        return {**defaults, **os.environ, **self.index_args}

    def _uv(self, blob: Blob) -> Path:
        path = self.home.uv(blob.sha256)
        if not path.exists():
            temporary = path.with_name(f"uv.tmp-{os.getpid()}")
            with gzip.open(self.blobs.cached(blob, "installer (uv)")) as source, open(temporary, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            temporary.chmod(0o700)
            temporary.replace(path)
        return path
