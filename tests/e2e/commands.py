"""Our own commands, each in a process that is forked from one which has the libraries loaded.

Waiting for a state asks again and again: an interpreter of its own, with all imports, is 0.6 s of CPU each time.
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 120.0
_LOADED = (
    *("launcher.cli", "launcher.sim.control", "launcher.fleet.inventory", "launcher.fleet.reaper", "launcher.job"),
    *("launcher.cloud.tpu", "launcher.cloud.storage", "google.cloud.storage", "google.cloud.tpu_v2", "rich.console"),
)

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(_LOADED))


@dataclasses.dataclass
class Ran:
    """What a process left behind. `value`: what it printed last after `RESULT `, as JSON."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        lines = [line for line in self.out.splitlines() if line.startswith("RESULT ")]
        assert lines, f"no RESULT in\n{self.out}\n{self.err}"
        return json.loads(lines[-1].removeprefix("RESULT "))


def command(module: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path | None = None) -> Ran:
    """`python -m MODULE ARGUMENTS` in this environment and folder."""
    with tempfile.TemporaryDirectory() as scratch:
        out, err = Path(scratch, "out"), Path(scratch, "err")
        place = str(folder or Path.cwd())
        process = _forks.Process(target=_run, args=(module, [*arguments], dict(env), place, str(out), str(err)))
        process.start()
        process.join(TIMEOUT_S)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        said = [each.read_text(errors="surrogateescape") if each.exists() else "" for each in (out, err)]
        code = process.exitcode
        process.close()
        assert not late, f"{module} {arguments}: no end after {TIMEOUT_S} s\n{said}"
        assert code is not None
        return Ran(code, *said)


def answer(module: str, *arguments: str, env: Mapping[str, str]) -> Any:
    """The JSON that a command prints."""
    ran = command(module, arguments, env)
    assert ran.code == 0, ran
    return json.loads(ran.out)


def _run(module: str, arguments: list[str], env: dict[str, str], folder: str, out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out
