"""Folders and a simulator of its own for one run of the benchmarks, and the end of everything started in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.leftovers import wait_until

_PROGRAMS = Path(__file__).with_name("programs")
# Settings of whoever runs this; PYTHON*: PYTHONDONTWRITEBYTECODE alone would have every import compiled anew.
_FOREIGN = ("LAUNCHER_", "GCE_METADATA_", "GOOGLE_", "GCLOUD_", "STORAGE_EMULATOR_", "PYTHON")
_PATIENCE_S = 5.0  # after SIGTERM, and again after SIGKILL


class ProgramFailed(Exception):
    """A measured program ended with an error; the message has what it said."""


class Sandbox:
    """One temporary folder. Every process that is started with `env` can be found, and is ended, by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # In the environment of every process of the sandbox: the simulator, drivers, supervisors and programs.
        self._mark = f"LAUNCHER_SIM_DIR={folder / 'sim'}"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self.env |= {
            "LAUNCHER_PROFILE": "simulator",
            "LAUNCHER_SIM_DIR": str(folder / "sim"),
            "LAUNCHER_CONFIG_DIR": str(folder / "config"),
            "LAUNCHER_CACHE_DIR": str(folder / "cache"),
        }
        self._simulated = False

    @property
    def worker_homes(self) -> str:
        return str(self.folder / "sim" / "workers")

    def run(self, argv: Sequence[str], cwd: Path | None = None) -> str:
        """A command's standard output. ProgramFailed where it ends with an error."""
        done = subprocess.run(
            argv,
            cwd=cwd or self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's own: it ends the others one by one
            check=False,
        )
        if done.returncode != 0:
            raise ProgramFailed(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def project(self, name: str) -> Path:
        """A new project with the measured programs in it."""
        folder = self.folder / name
        shutil.copytree(_PROGRAMS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "requirements.txt").write_text("# nothing but the standard library\n")
        return folder

    def program(self, project: Path, name: str, *arguments: str) -> Any:
        """Runs one of the project's programs; what it printed last, as JSON."""
        return json.loads(self.run([sys.executable, f"{name}.py", *arguments], project).splitlines()[-1])

    def simulate(self) -> None:
        """Starts the simulator and makes one call in it, so that no measured one is the first on this machine."""
        if self._simulated:
            return
        self._simulated = True
        self.run([sys.executable, "-m", "launcher.sim", "start", "--idle-exit-s", "1800"])
        self.program(self.project("first"), "first")

    def end(self) -> None:
        """Ends every process of the sandbox: the simulator first, as it ends its workers itself."""
        if self._simulated:
            subprocess.run(
                [sys.executable, "-m", "launcher.sim", "stop"], env=self.env, check=False, stdout=subprocess.DEVNULL
            )
        for number in (signal.SIGTERM, signal.SIGKILL):
            told: set[int] = set()
            if wait_until(lambda number=number, told=told: not self._tell(number, told), _PATIENCE_S):
                return

    def _tell(self, number: int, told: set[int]) -> set[int]:
        """Signals, once each, the processes that there are now, and returns them."""
        living = self._processes()
        for pid in living - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        told |= living
        return living

    def _processes(self) -> set[int]:
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
        return found


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A sandbox; afterwards no process and no file of it is left, whatever ended the run."""
    with tempfile.TemporaryDirectory(prefix="launcher-bench-", ignore_cleanup_errors=True) as folder:
        made = Sandbox(Path(folder))
        try:
            yield made
        finally:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
            try:
                made.end()
            finally:
                signal.signal(signal.SIGINT, before)
