"""End to end: scripts as a user writes them, run in a process of their own against a simulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import TIMEOUT_S, Ran, answer, command
from tests.e2e.leftovers import processes_naming, wait_until


class User:
    """A person with a project folder and a profile: runs scripts and launcher commands there."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        (folder / "requirements.txt").write_text("# nothing but the standard library\n")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, *argv: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *argv],
            cwd=self.folder,
            env={**self.env, "PYTHONFAULTHANDLER": "1", **env},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="surrogateescape",
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> Ran:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGABRT)  # with the fault handler on: every thread tells where it is
            out, err = process.communicate()
            pytest.fail(f"no end after {timeout_s} s\n{out}\n{err}")
        return Ran(process.returncode, out, err)

    def script(self, text: str, *argv: str, name: str = "script.py", **env: str) -> Ran:
        """Runs a script of this text. It has `launcher` and `report(value)`, which prints RESULT and JSON."""
        return self.finish(self.start(str(self.prepare(text, name)), *argv, **env))

    def prepare(self, text: str, name: str = "script.py") -> Path:
        head = "import json, launcher\ndef report(value): print('RESULT', json.dumps(value))\n"
        return self.write(name, head + textwrap.dedent(text))

    def nodes(self) -> Any:
        """What `launcher nodes` says."""
        return _nodes(self.env)

    def launcher(self, *arguments: str, **env: str) -> Ran:
        return command("launcher.cli", arguments, {**self.env, **env}, self.folder)

    def call(self, body: str, call: str = "f()", options: str = "", **env: str) -> Ran:
        """One decorated function `f` with this text as its definition, called once; RESULT is what it returned."""
        return self.script(f"@launcher.run({options})\n{textwrap.dedent(body)}\nreport({call})\n", **env)


@pytest.fixture
def user(simulator: dict[str, str], tmp_path: Path) -> Iterator[User]:
    """A user of the session's simulator, whose nodes go with their jobs; it must hold nothing when the test ends."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield User(folder, {**simulator, "LAUNCHER_KEEP_WARM_S": "0"})
    assert_nothing_left(simulator)


@pytest.fixture
def warm_user(fresh_simulator: dict[str, str], tmp_path: Path) -> Iterator[User]:
    """A user with a simulator alone, whose time may be advanced. Nodes stay warm and are deleted when the test ends."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield User(folder, dict(fresh_simulator))
    for node in _nodes(fresh_simulator):
        answer("launcher.cli", "nodes", "down", node["name"], "--force", "--json", env=fresh_simulator)
    assert_nothing_left(fresh_simulator)


def assert_nothing_left(env: dict[str, str]) -> None:
    """No node, no queued resource, no process of a worker and no driver. Deletions may still be under way."""
    assert wait_until(lambda: not _status(env)["workers"]), _status(env)
    assert wait_until(lambda: not _status(env)["queued_resources"]), _status(env)
    assert wait_until(lambda: not _nodes(env)), _nodes(env)
    assert wait_until(lambda: not processes_naming("launcher.driver", env["LAUNCHER_SIM_DIR"]))
    homes = str(Path(env["LAUNCHER_SIM_DIR"]) / "workers")
    assert wait_until(lambda: not processes_naming(homes, "")), processes_naming(homes, "")


def _status(env: dict[str, str]) -> dict[str, Any]:
    return answer("launcher.sim", "status", "--json", env=env)


def _nodes(env: dict[str, str]) -> Any:
    return answer("launcher.cli", "nodes", "list", "--json", env=env)
