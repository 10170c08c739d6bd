"""The keeper kills everything that its server started, however the server ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.worker_fixtures import TIMEOUT_S, alive, read_pid, wait_until

KEEPER = [sys.executable, "-m", "launcher.sim.keeper"]
#: Leaves a process that has a session of its own, no environment and no parent, and waits.
SERVER = (
    "(setsid env -i /bin/sh -c '/bin/sh -c \"echo \\$\\$ > stray; exec sleep 1000\" &') </dev/null >/dev/null 2>&1;"
    " while [ ! -s stray ]; do sleep 0.01; done;"
)


def run(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [*KEEPER, "--", *argv], cwd=folder, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("end, status", [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)])
def test_nothing_is_left_when_the_server_ends(tmp_path: Path, end: str, status: int) -> None:
    with run(tmp_path, "/bin/sh", "-c", SERVER + end) as keeper:
        assert keeper.wait(TIMEOUT_S) == status
    assert not alive(read_pid(tmp_path / "stray"))


def test_nothing_is_left_when_the_server_is_killed(tmp_path: Path) -> None:
    with run(tmp_path, "/bin/sh", "-c", SERVER + "echo $$ > server; exec sleep 1000") as keeper:
        os.kill(read_pid(tmp_path / "server"), signal.SIGKILL)
        assert keeper.wait(TIMEOUT_S) == 128 + signal.SIGKILL
    assert not alive(read_pid(tmp_path / "stray"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on(tmp_path: Path, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    server = f"trap 'echo {name} > got; exit 3' {name}; {SERVER} echo $$ > server; while :; do sleep 0.01; done"
    with run(tmp_path, "/bin/sh", "-c", server) as keeper:
        read_pid(tmp_path / "server")
        keeper.send_signal(number)
        assert keeper.wait(TIMEOUT_S) == 3
    assert (tmp_path / "got").read_text() == f"{name}\n"
    assert not alive(read_pid(tmp_path / "stray"))


def test_the_server_dies_with_its_keeper(tmp_path: Path) -> None:
    with run(tmp_path, "/bin/sh", "-c", "echo $$ > server; exec sleep 1000") as keeper:
        server = read_pid(tmp_path / "server")
        keeper.kill()
    wait_until(lambda: not alive(server), "the end of the server")


def test_ctrl_c_in_a_terminal_reaches_the_server_once(tmp_path: Path) -> None:
    """The terminal signals the keeper's process group, in which the server is not."""
    with run(tmp_path, "/bin/sh", "-c", "echo $$ > server; exec sleep 1000") as keeper:
        server = read_pid(tmp_path / "server")
        assert os.getpgid(server) == server != os.getpgid(keeper.pid)
        keeper.terminate()
        assert keeper.wait(TIMEOUT_S) == 128 + signal.SIGTERM


def test_a_server_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with run(tmp_path, "/no/such/server") as keeper:
        _, errors = keeper.communicate(timeout=TIMEOUT_S)
    assert (keeper.returncode, errors) == (127, b"/no/such/server: No such file or directory\n")


def test_usage() -> None:
    done = subprocess.run([*KEEPER, "server"], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert b"usage: " in done.stderr
