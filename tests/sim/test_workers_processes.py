"""Every process of a worker ends with it, whatever it did to get away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.sim import worker_init
from launcher.sim.processes import KILLED, MARK, Process, ProcessTree, kill_marked, marked
from launcher.sim.workers import Worker
from tests.sim.worker_fixtures import Machines, alive, machines, read_pid, wait_until

#: Each leaves a process behind that writes its pid into the file `pid`.
ESCAPES = {
    "plain child": "sh -c 'echo $$ > pid; exec sleep 1000'",
    "background": "sh -c 'echo $$ > pid; exec sleep 1000' >/dev/null 2>&1 & sleep 1000",
    "own session": "setsid sh -c 'echo $$ > pid; exec sleep 1000' </dev/null >/dev/null 2>&1 &",
    "ignores signals": "setsid sh -c 'trap \"\" TERM INT HUP; echo $$ > pid; while :; do sleep 1000; done' &",
    "double fork without environment": (
        "(setsid env -i /bin/sh -c '/bin/sh -c \"echo \\$\\$ > pid; exec sleep 1000\" &') </dev/null >/dev/null 2>&1"
    ),
    "stopped": "setsid sh -c 'echo $$ > pid; kill -STOP $$; sleep 1000' </dev/null >/dev/null 2>&1 &",
}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path / "machines") as made:
        yield made


async def start(worker: Worker, command: str) -> Process:
    """Run `command` on the worker without SSH."""
    with open(os.devnull, "r+b") as nothing:
        fd = nothing.fileno()
        tree = worker._tree
        return await tree.spawn(
            ["/bin/sh", "-c", command], env=worker.environment("ada"), cwd=worker.folder / "home", fds=(fd, fd, fd)
        )


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("end", ["stop", "preempt", "delete", "close"])
def test_no_process_survives_its_worker(room: Machines, escape: str, end: str) -> None:
    worker = room.boot()
    bystander = room.boot(room.spec("other", workers=2, worker=1))
    room.run(start(worker, ESCAPES[escape]))
    room.run(start(bystander, ESCAPES[escape]))
    pid, other = (read_pid(each.folder / "home/pid") for each in (worker, bystander))
    assert alive(pid)
    if end == "delete":
        room.run(room.host.delete(worker.spec))
    elif end == "close":
        room.run(room.host.close())
    else:
        room.run(getattr(worker, end)())
    assert not alive(pid)
    assert alive(other) is (end != "close")


def test_startup_script_ends_with_the_worker(room: Machines) -> None:
    worker = room.boot(room.spec(startup_script="#!/bin/sh\necho $$ > pid; exec sleep 1000\n"))
    pid = read_pid(worker.folder / "home/pid")
    room.run(worker.stop())
    assert not alive(pid)


def test_a_hundred_processes_that_fork_on(room: Machines) -> None:
    worker = room.boot()
    room.run(start(worker, "for i in $(seq 100); do (while :; do (:) & wait; done) & done; echo $$ > pid; wait"))
    read_pid(worker.folder / "home/pid")
    room.run(worker.stop())
    assert marked(str(worker.folder)) == []


def test_processes_end_also_when_one_of_them_killed_or_stopped_the_init(room: Machines) -> None:
    for signal_name in ("KILL", "STOP"):
        worker = room.boot(room.spec(signal_name.lower()))
        room.run(start(worker, f"echo $$ > pid; kill -{signal_name} $PPID; exec sleep 1000"))
        pid = read_pid(worker.folder / "home/pid")
        assert alive(pid)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker_init, "KILL_TIMEOUT_S", 1.0)
            room.run(room.host.delete(worker.spec))
        assert not alive(pid)


def test_commands_after_the_init_is_gone_fail_clearly(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    with contextlib.suppress(ConnectionError):  # gone before it could tell that this was started
        room.run(start(worker, "kill -KILL $PPID"))
    wait_until(lambda: room.ssh(worker, tmp_path, "true").returncode == 255, "the loss of the init")
    assert room.ssh(worker, tmp_path, "true").stderr == b"cannot start a process: the worker is stopped\n"


def test_processes_die_with_the_process_that_serves_the_worker(tmp_path: Path) -> None:
    """SIGKILL of the simulator itself, with no keeper around it."""
    code = (
        "import asyncio, os, sys, pathlib\n"
        "from launcher.sim.processes import ProcessTree\n"
        "async def main():\n"
        "    tree = await ProcessTree.start(sys.argv[1])\n"
        "    await tree.spawn(['/bin/sh', '-c', sys.argv[2]], env={'PATH': '/usr/bin:/bin'},\n"
        "                     cwd=pathlib.Path(sys.argv[1]), fds=(0, 1, 2))\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = ESCAPES["double fork without environment"]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), command], stdin=subprocess.DEVNULL) as simulator:
        pid = read_pid(tmp_path / "pid")
        simulator.kill()
    wait_until(lambda: not alive(pid), "the end of the orphan")


def test_a_new_host_kills_what_an_earlier_one_left(room: Machines, tmp_path: Path) -> None:
    left = room.state_dir / "workers/us-west4-a/gone-0"
    others = {**os.environ, MARK: f"{room.state_dir}-other/workers/x"}
    with (
        subprocess.Popen(["sleep", "1000"], env={**os.environ, MARK: str(left)}) as stray,
        subprocess.Popen(["sleep", "1000"], env=others) as foreign,
    ):
        room.restart()
        assert stray.wait() == -signal.SIGKILL
        assert foreign.poll() is None
        foreign.kill()


def test_marks_are_compared_by_folder(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, MARK: f"{tmp_path}/w-10"}) as process:
        wait_until(lambda: marked(f"{tmp_path}/w-10") == [process.pid], "the mark")
        assert marked(str(tmp_path)) == [process.pid]
        kill_marked(f"{tmp_path}/w-1")
        assert process.poll() is None
        kill_marked(str(tmp_path))
        assert process.wait() == -signal.SIGKILL


def test_tree_reports_exits_signals_and_failures(tmp_path: Path) -> None:
    async def run() -> list[int]:
        tree = await ProcessTree.start(str(tmp_path))
        codes = []
        with open(tmp_path / "log", "wb") as log, open(os.devnull, "rb") as nothing:
            fds = (nothing.fileno(), log.fileno(), log.fileno())
            for argv in (
                ["/bin/sh", "-c", "exit 5"],
                ["/bin/sh", "-c", "kill -PIPE $$"],
                ["/does/not/exist"],
                [str(tmp_path)],
            ):
                process = await tree.spawn(argv, env={}, cwd=tmp_path, fds=fds)
                codes.append(await process.wait())
            running = await tree.spawn(["/bin/sleep", "1000"], env={}, cwd=tmp_path, fds=fds)
            await tree.kill()
            codes.append(await running.wait())
            with pytest.raises(OSError, match="stopped"):
                await tree.spawn(["/bin/true"], env={}, cwd=tmp_path, fds=fds)
            await tree.kill()
        return codes

    assert asyncio.run(run()) == [5, -signal.SIGPIPE, 127, 126, KILLED]
    assert "/does/not/exist" in (tmp_path / "log").read_text()


def test_a_hundred_commands_at_once(tmp_path: Path) -> None:
    async def run() -> list[int]:
        tree = await ProcessTree.start(str(tmp_path))
        with open(os.devnull, "r+b") as nothing:
            fds = (nothing.fileno(),) * 3
            big = {"BIG": "x" * 100_000}
            started = await asyncio.gather(
                *(tree.spawn(["/bin/sh", "-c", f"exit {n}"], env=big, cwd=tmp_path, fds=fds) for n in range(100))
            )
            codes = await asyncio.gather(*(process.wait() for process in started))
        await tree.kill()
        return codes

    assert asyncio.run(run()) == list(range(100))


def test_commands_inherit_neither_files_nor_ignored_signals(room: Machines, tmp_path: Path) -> None:
    worker = room.boot()
    # 3 is the folder that ls reads.
    assert room.ssh(worker, tmp_path, "ls /proc/self/fd").stdout.split() == [b"0", b"1", b"2", b"3"]
    status = room.ssh(worker, tmp_path, "cat /proc/self/status").stdout.decode().splitlines()
    masks = {
        line.split(":")[0]: int(line.split()[1], 16) for line in status if line.startswith("Sig") and "/" not in line
    }
    glibc = 0b11 << 31  # signals 32 and 33 are its own: a posix_spawn on the way here may leave them ignored
    assert (masks["SigIgn"] & ~glibc, masks["SigBlk"]) == (0, 0)
