"""The command as a process: exit codes, pipes, terminals, Ctrl-C."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.records.paths import JobPaths
from tests.cli.conftest import World
from tests.e2e.leftovers import wait_until

LAUNCHER = [sys.executable, "-m", "launcher.cli"]


def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAUNCHER, *arguments], env=env, capture_output=True, text=True, check=False)


def on_terminal(arguments: Sequence[str], env: dict[str, str], columns: int = 100) -> tuple[int, bytes]:
    """Exit code and everything that reached a terminal of so many columns."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    known = {"TERM": "xterm-256color"}
    sized = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen([*LAUNCHER, *arguments], env=sized | known, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # Linux's end of a terminal
        pass
    finally:
        os.close(terminal)
    return process.wait(), shown


def test_exit_codes_are_the_process_own(simulator: dict[str, str]) -> None:
    assert run("nodes", env=simulator).returncode == 0
    failed = run("logs", "nonsense", env=simulator)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("launcher: error: 'nonsense' is not a job id") and failed.stderr.count("\n") == 1
    assert run("nonsense", env=simulator).returncode == 2


@pytest.mark.parametrize("arguments", [["accelerators"], ["accelerators", "--json"], ["--help"]])
def test_a_reader_that_leaves_early_gets_no_traceback(simulator: dict[str, str], arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*LAUNCHER, *arguments], env=simulator, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_pipe_gets_plain_lines_however_long(world: World, simulator: dict[str, str]) -> None:
    job = world.job(name="x" * 300)
    narrow = run("jobs", env={**simulator, "COLUMNS": "40"}).stdout
    row = next(line for line in narrow.splitlines() if line.startswith(job.job_id))
    assert "x" * 300 in row and "\x1b" not in narrow


def test_a_terminal_gets_a_table_that_fits_and_loses_nothing(world: World, simulator: dict[str, str]) -> None:
    job = world.job(name="x" * 130 + "[red]y")
    code, shown = on_terminal(["jobs", "--limit", "1"], simulator)
    assert code == 0
    lines = shown.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) > 2
    text = "".join(line.split(job.job_id)[-1].partition("QUEUED")[0].strip() for line in lines[1:])
    assert text.startswith("x" * 130) and text.endswith("[red]y")


def test_a_terminal_shows_who_has_which_node_without_breaking_a_line_in_a_word(
    world: World, simulator: dict[str, str]
) -> None:
    mine, hers = world.job(), world.job(owner="grace", spot=True)
    nodes = [world.node(mine), world.node(hers)]
    code, shown = on_terminal(["nodes"], simulator, columns=80)
    lines = shown.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert code == 0 and max(map(len, lines)) <= 80
    for node, job, price in zip(nodes, (mine, hers), ("$1.20", "$0.24"), strict=True):
        at = next(number for number, line in enumerate(lines) if line.startswith(node.queued_resource))
        assert lines[at].split()[-1] == price
        told = re.fullmatch(r"    ready, \d+ \w+ old, in use by (\S+) \(job (\S+)\)", lines[at + 1])
        assert told is not None and told.groups() == (f"{job.owner}@laptop", job.job_id)


def test_ctrl_c_deletes_what_is_not_warm_yet(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "LAUNCHER_PROFILE": "simulator",
        "LAUNCHER_SIM_DIR": str(tmp_path / "sim"),
        "LAUNCHER_CONFIG_DIR": str(tmp_path / "config"),
    }
    assert run("sim", "start", "--delay", "waiting=3600", env=env).returncode == 0
    try:
        process = subprocess.Popen(
            [*LAUNCHER, "nodes", "up", "--accelerator", "v5e-1", "--count", "2", "--json"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = ""
        while said.count("waiting for free hardware") < 2:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert (process.returncode, out) == (130, "[]\n")
        assert "launcher: deleting what is not warm yet (Ctrl-C again: leave at once)\n" in err
        assert err.count(": gone: sim-") == 2 and "Traceback" not in err, err
        assert json.loads(run("nodes", "--json", env=env).stdout) == []
    finally:
        run("sim", "stop", env=env)


def test_a_terminal_is_spared_the_escape_sequences_of_a_log(world: World, simulator: dict[str, str]) -> None:
    job = world.job()
    world.attempt(job)
    world.log(job, b"\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07clipboard \x1b[2Jscreen\n")
    code, shown = on_terminal(["logs", job.job_id], simulator)
    assert (code, shown) == (0, b"\x1b[31mred\x1b[0m clipboard screen\r\n")


def until_it_waits(process: subprocess.Popen[str]) -> None:
    """Reads its standard error up to the line WAITING; one that never says it is killed, and fails the test."""
    assert process.stderr is not None
    said = ""
    late = threading.Timer(60, process.kill)
    late.start()
    try:
        while "WAITING" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
    finally:
        late.cancel()


@pytest.mark.parametrize("command", [["logs", "-f"], ["attach"], ["attach", "--json"], ["result"]], ids=" ".join)
def test_ctrl_c_only_detaches(world: World, simulator: dict[str, str], command: list[str]) -> None:
    job = world.job()
    world.attempt(job)
    world.log(job, b"step 1\n")
    # What is being waited for is asked for over the network: the first request tells that the wait began.
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *command, job.job_id],
        env=simulator,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_it_waits(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"launcher: detached; the job goes on. Again: launcher attach {job.job_id}\n" in err
    assert "Traceback" not in err
    assert out == ("step 1\n" if command in (["logs", "-f"], ["attach"]) else "")
    assert world.platform.store.read(JobPaths(job.owner, job.job_id).cancel) is None
    assert world.platform.store.read(JobPaths(job.owner, job.job_id).outcome) is None


# Says so when a command waits for the job to go on, which no line of its own tells.
WAITING = """
import sys
from launcher.cloud.seams import SystemClock
wait = SystemClock.wait
def told(self, seconds, event=None):
    sys.stderr.write("WAITING\\n")
    return wait(self, seconds, event)
SystemClock.wait = told
from launcher.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["nodes"], ["nodes", "down", "x"], ["reap"]], ids=" ".join)
def test_one_ctrl_c_ends_a_command_whose_requests_are_refused(
    simulator: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    storage = json.loads(run("sim", "env", "--json", env=simulator).stdout)["STORAGE_EMULATOR_HOST"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens; 0.0.0.0, as a loopback address would be a simulator's
        refusing = f"http://0.0.0.0:{closed.getsockname()[1]}"
        (tmp_path / "profiles").mkdir()
        (tmp_path / "profiles" / "refused.toml").write_text(
            f'project = "simulated-project"\nzones = ["us-central1-a", "us-east5-a"]\nbucket = "simulated-jobs"\n'
            f'owner = "ada"\ncredentials = "anonymous"\ntpu_endpoint = "{refusing}"\nstorage_endpoint = "{storage}"\n'
        )
        (tmp_path / "profiles" / "refused.toml").chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-c", REFUSED, *command],
            env={**simulator, "LAUNCHER_CONFIG_DIR": str(tmp_path), "LAUNCHER_PROFILE": "refused"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until_it_waits(process)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, out, err.replace("WAITING", "").strip()) == (130, "", "")


# The pause before a request is repeated never ends, so that whoever waits for it does not either.
REFUSED = """
import sys, threading
from launcher.cloud.seams import SystemClock
def told(self, seconds, event=None):
    sys.stderr.write("WAITING\\n")
    return threading.Event().wait()
SystemClock.wait = told
from launcher.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_output_that_the_terminal_cannot_spell_is_no_reason_to_fail(world: World, simulator: dict[str, str]) -> None:
    job = world.job(name="naïve")
    done = run("jobs", "--limit", "1", env={**simulator, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert f"{job.job_id}  na\\xefve" in done.stdout


# --- sim ----------------------------------------------------------------------------------------------------


def test_a_simulator_is_started_looked_at_and_stopped(tmp_path: Path) -> None:
    env = {**os.environ, "LAUNCHER_SIM_DIR": str(tmp_path / "sim"), "LAUNCHER_CONFIG_DIR": str(tmp_path / "config")}
    assert run("sim", "status", env=env).returncode == 1
    assert run("sim", "stop", env=env).stdout == "no simulator is running\n"
    started = run("sim", "start", "--idle-exit-s", "600", env=env)
    try:
        assert started.returncode == 0, started.stderr
        assert started.stdout.startswith("simulator serving at http://127.0.0.1:")
        assert run("sim", "start", env=env).stdout.startswith("simulator already serving at ")
        status = json.loads(run("sim", "status", "--json", env=env).stdout)
        assert {"tpu", "storage", "project", "bucket", "state_dir", "pid", "workers"} <= status.keys()
        exports = run("sim", "env", "--terraform", env=env).stdout
        script = f'{exports}\nprintf %s "$STORAGE_EMULATOR_HOST $GOOGLE_TPU_V2_CUSTOM_ENDPOINT"'
        shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert shell.stdout == f"{status['storage']} {status['tpu']}/v2/"
        assert json.loads(run("sim", "env", "--json", env=env).stdout)["STORAGE_EMULATOR_HOST"] == status["storage"]
    finally:
        stopped = run("sim", "stop", "--json", env=env)
    assert json.loads(stopped.stdout) == {"stopped": True}
    assert run("sim", "status", "--json", env=env).stdout == "null\n"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    env = {**os.environ, "LAUNCHER_SIM_DIR": str(tmp_path / "sim")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("sim", "start", "--port", str(port), env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"launcher: error: port {port} of 127.0.0.1 is taken by ")
    assert done.stderr.count("\n") == 1


def test_faults_are_injected_by_name(fresh_simulator: dict[str, str]) -> None:
    env = fresh_simulator
    assert run("sim", "inject", "stockout", "--count", "2", env=env).stdout == "stockout: strikes the next 2 requests\n"
    assert "armed: stockout, 2 more\n" in run("sim", "status", env=env).stdout
    wrong = run("sim", "inject", "stockot", env=env)
    assert wrong.returncode == 1 and wrong.stderr.startswith("launcher: error: no fault is called 'stockot'")
    nobody = run("sim", "inject", "preemption", env=env)
    assert (nobody.returncode, nobody.stderr) == (1, "launcher: error: no node is READY\n")


def test_a_fault_strikes_a_node(world: World, simulator: dict[str, str]) -> None:
    intent = world.node(world.job())
    done = run("sim", "inject", "preemption", "--node", intent.node, "--json", env=simulator)
    assert done.returncode == 0, done.stderr
    (struck,) = json.loads(done.stdout)["nodes"]
    assert struck.endswith(f"/nodes/{intent.node}")

    def words() -> str:
        listed = json.loads(run("nodes", "--json", env=simulator).stdout)
        return str(next(each["words"] for each in listed if each["name"] == intent.queued_resource))

    assert wait_until(lambda: "Google took the hardware back" in words()), words()
