"""The job's Python environment: built from its lock with uv, once per worker, and never seen half-built.

One attempt at a time runs on a worker (home.worker_lock): nobody else builds meanwhile.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

from launcher.agent import processes
from launcher.agent.bucket import Blobs
from launcher.agent.control import Attempt, AttemptFailed
from launcher.agent.home import folder, tail
from launcher.agent.rest import Metadata
from launcher.records.jobs import Blob, Interpreter

_TAIL_LINES = 30


class Installer:
    """Builds environments; what the installer says goes to the attempt's setup log."""

    def __init__(self, attempt: Attempt, blobs: Blobs, metadata: Metadata, *, chips: bool) -> None:
        self._job = attempt.spec.job
        self._lock = self._job.lock_tpu if chips else self._job.lock_cpu
        self._path = folder(attempt.home.environments) / f"{self._lock.sha256}-{self._job.python}"
        self.python = self._path / "bin" / "python"
        self._home = attempt.home
        self._log = attempt.folder.setup_log
        self._stop = attempt.stop
        self._blobs = blobs
        self._metadata = metadata
        self._variables = {
            "UV_SYSTEM_CERTS": "1",  # an organisation's own roots are in the machine image, not in uv
            "UV_PYTHON_INSTALL_DIR": str(self._home.pythons),
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            **os.environ,
            **attempt.spec.index_args,
        }

    @property
    def ready(self) -> bool:
        """Whether `python` is there; also not where the Python that it was made with is gone."""
        return os.access(self.python, os.X_OK)

    def build(self) -> None:
        """Makes `python` an environment with what the job's lock names. AttemptFailed (SetupError) where that fails."""
        if self.ready:
            return
        for stale in (self._path, *self._path.parent.glob(self._path.name + ".tmp-*")):  # of builds that were killed
            shutil.rmtree(stale, ignore_errors=True)
        if self._job.interpreter is not None:
            self._variables.pop(
                "UV_PYTHON_INSTALL_MIRROR", None
            )  # uv would look there for a URL that is not of GitHub's
            self._variables["UV_PYTHON_DOWNLOADS_JSON_URL"] = str(self._offer(self._job.interpreter))
        self._install(self._blobs.cached(self._lock, "dependency lock"), self._path)

    def _repository(self, url: str) -> dict[str, str]:
        """uv's settings for an Artifact Registry repository, which it asks with the worker's own identity.

        https://docs.astral.sh/uv/guides/integration/google/
        """
        self._metadata.forget_token()  # it may have a minute left, and large packages take longer
        return {
            "UV_DEFAULT_INDEX": f"platform={url}",
            "UV_INDEX_PLATFORM_USERNAME": "oauth2accesstoken",
            "UV_INDEX_PLATFORM_PASSWORD": self._metadata.token(),
        }

    def _offer(self, sent: Interpreter) -> Path:
        """uv's table of Pythons to install, with the one that was sent along."""
        major, minor, patch = (int(part) for part in sent.version.split("."))
        place = folder(self._home.root / "uv" / sent.archive.sha256)
        archive = place / "python.tar.gz"  # uv goes by the name's end
        archive.unlink(missing_ok=True)
        archive.symlink_to(self._blobs.cached(sent.archive, f"Python {sent.version}"))
        entry = {
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": archive.as_uri(),
            "sha256": sent.archive.sha256,
            "variant": None,
            "build": None,
        }
        table = place / "downloads.json"
        table.write_text(json.dumps({f"cpython-{sent.version}-linux-x86_64-gnu": entry}))
        return table

    def _install(self, lock: Path, path: Path) -> None:
        uv = str(self._uv(self._job.uv))
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        version = self._job.python
        venv = [uv, "venv", "--no-project", "--relocatable", "--python", version, str(temporary)]
        sync = [uv, "pip", "sync", "--require-hashes", "--allow-empty-requirements"]
        try:
            self._step(
                f"Python {version} for the job",
                venv,
                f"This worker has no Python {version} and could not fetch one. Call from a Python that it has (the "
                "workers of a simulator have the one that started it: launcher sim stop, then call again), or set "
                "UV_PYTHON_INSTALL_MIRROR to where it can fetch one from.",
            )
            index, advice = self._job.python_index, ""
            if index:
                self._variables |= self._repository(index)
                advice = (
                    f"This worker has no internet: its packages come from {index} alone, which has the public index's. "
                    "Its service account needs roles/artifactregistry.reader there."
                )
            self._step("the job's packages", [*sync, "--python", str(temporary / "bin" / "python"), str(lock)], advice)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _step(self, what: str, argv: list[str], advice: str = "") -> None:
        with open(self._log, "ab", buffering=0) as log:
            code = processes.run(argv, self._variables, log.fileno(), self._stop)
        if code != 0:
            said = tail(self._log, _TAIL_LINES) or "no message"
            raise AttemptFailed(
                "SetupError",
                f"{what} could not be installed on the worker (exit code {code}). The installer said:\n{said}"
                + (f"\n{advice}" if advice else ""),
            )

    def _uv(self, blob: Blob) -> Path:
        path = folder(self._home.root / "uv" / blob.sha256) / "uv"
        if not path.exists():
            temporary = path.with_name("uv.tmp")
            with gzip.open(self._blobs.cached(blob, "installer (uv)")) as source, open(temporary, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            temporary.chmod(0o700)
            temporary.replace(path)
        return path
