"""Simulated time: who sleeps is woken in order, whoever is awake is waited for, and every timestamp follows."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.sim import clock as clock_module
from launcher.sim import control
from launcher.sim.clock import Clock, parse_timestamp
from launcher.sim.environment import write_interpreters
from launcher.sim.tasks import Tasks, together
from launcher.sim.worker_clock import WorkerClock, write_commands
from tests.sim.tpu_fixtures import PARENT, request, simulator
from tests.sim.worker_fixtures import machines, wait_until

AGENT_FOLDER = str(Path(__file__).parents[2] / "launcher" / "agent")
HOUR_S = 3600.0


# --- within the simulator -------------------------------------------------------------------------------------


class Diary:
    """What happened when, in seconds since the beginning."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun = clock.now()
        self.entries: list[tuple[str, float]] = []

    def note(self, what: str) -> None:
        self.entries.append((what, self.clock.now() - self.begun))

    async def sleeper(self, name: str, *pauses_s: float) -> None:
        for pause_s in pauses_s:
            await self.clock.sleep(pause_s)
            self.note(name)

    def names(self) -> list[str]:
        return [name for name, _ in self.entries]


async def begun(*work: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(each) for each in work]
    await asyncio.sleep(0)
    return tasks


def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    async def story() -> list[tuple[str, float]]:
        clock = Clock()
        diary = Diary(clock)
        tasks = await begun(
            diary.sleeper("late", 3000), diary.sleeper("often", *[890] * 4), diary.sleeper("never", 4000)
        )
        await clock.advance(HOUR_S)
        diary.note("advanced")
        tasks[2].cancel()
        return diary.entries

    entries = asyncio.run(story())
    assert [name for name, _ in entries] == ["often", "often", "often", "late", "often", "advanced"]
    for (_, when), wanted in zip(entries, (890, 1780, 2670, 3000, 3560, 3600), strict=True):
        assert wanted <= when < wanted + 60


def test_a_sleep_lasts_its_real_time_where_nobody_advances() -> None:
    async def story() -> float:
        clock = Clock()
        diary = Diary(clock)
        await diary.sleeper("done", 0.01)
        return diary.entries[0][1]

    assert asyncio.run(story()) >= 0.01


def test_a_change_that_is_awake_is_waited_for() -> None:
    async def story() -> list[str]:
        clock, tasks = Clock(), Tasks()
        clock.follow(tasks.under_way)
        diary, booted = Diary(clock), asyncio.Event()

        async def boot() -> None:
            await clock.sleep(60)
            diary.note("hardware")
            asyncio.get_running_loop().call_later(0.05, booted.set)
            await booted.wait()
            diary.note("booted")

        async def node() -> None:
            await together([boot()])  # in a task of its own
            await clock.sleep(60)
            diary.note("ready")

        tasks.start("node", node())
        sleeping = await begun(diary.sleeper("somebody else", 90))
        await clock.advance(HOUR_S)
        await asyncio.gather(*sleeping)
        return diary.names()

    assert asyncio.run(story()) == ["hardware", "booted", "somebody else", "ready"]


def test_a_request_that_is_being_handled_is_waited_for() -> None:
    async def story() -> list[str]:
        clock = Clock()
        diary = Diary(clock)

        async def handle() -> None:
            with clock.handling():
                await asyncio.sleep(0.05)
                diary.note("answered")

        tasks = await begun(handle(), diary.sleeper("woken", 60))
        await clock.advance(120)
        await asyncio.gather(*tasks)
        return diary.names()

    assert asyncio.run(story()) == ["answered", "woken"]


def test_who_never_sleeps_again_does_not_hold_time_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "PATIENCE_S", 0.05)

    async def story() -> float:
        clock, tasks = Clock(), Tasks()
        clock.follow(tasks.under_way)
        begun_at = clock.now()

        async def stuck() -> None:
            await asyncio.Event().wait()

        tasks.start("stuck", stuck())
        await clock.advance(HOUR_S)
        await tasks.close()
        return clock.now() - begun_at

    assert asyncio.run(story()) >= HOUR_S


def test_time_does_not_step_back_over_a_restart(tmp_path: Path) -> None:
    async def story() -> float:
        clock = Clock(tmp_path / "clock")
        await clock.advance(2 * HOUR_S)
        return clock.now()

    before = asyncio.run(story())
    assert Clock(tmp_path / "clock").now() >= before - 1.0  # but for a step of this machine's own clock


# --- on workers -----------------------------------------------------------------------------------------------

# Two threads of one agent, and the main one, each with waits of its own.
AGENT = """
import os, sys, threading
import clock
stop, begun = threading.Event(), clock.monotonic()
def loop(name, pause):
    while not clock.wait(stop, pause):
        os.write(1, f"{name} {clock.monotonic() - begun:.0f}\\n".encode())
for name, pause in (("minute", 60), ("quarter", 900)):
    threading.Thread(target=loop, args=(name, pause), daemon=True).start()
clock.sleep(1000)
stop.set()
"""


@contextlib.contextmanager
def on_worker(folder: Path, command: list[str], **environment: str) -> Iterator[tuple[WorkerClock, Any]]:
    """`command` with a worker's clock and commands. Its standard output is a pipe."""
    worker = WorkerClock(folder / "clock")
    worker.begin(0.0, 5.0)
    write_interpreters(folder / "bin")
    write_commands(folder / "bin")
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LAUNCHER_CLOCK": str(worker.folder), **environment}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield worker, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def advanced(worker: WorkerClock, *seconds: float) -> Clock:
    async def story() -> Clock:
        clock = Clock()
        clock._workers.add(worker)
        for each in seconds:
            await clock.advance(each)
        return clock

    return asyncio.run(story())


def test_threads_of_an_agent_are_woken_in_order_and_waited_for(tmp_path: Path) -> None:
    with on_worker(tmp_path, [sys.executable, "-c", AGENT], PYTHONPATH=AGENT_FOLDER) as (
        worker,
        agent,
    ):
        wait_until(lambda: len(list(worker.folder.glob("*_*"))) == 3, "three threads asleep")
        advanced(worker, 950, 100)
        lines = agent.stdout.read().decode().splitlines()
    seen = [line.split() for line in lines]
    minutes = [int(when) for name, when in seen if name == "minute"]
    assert [round(when / 60) for when in minutes] == list(range(1, 17))
    assert all(60 * index <= when < 60 * index + 30 for index, when in enumerate(minutes, 1))
    assert [name for name, _ in seen].index("quarter") in (14, 15)
    assert agent.wait() == 0  # the sleep of the main thread ended as well


def test_a_shell_that_sleeps_again_and_again_does_it_on_time_and_sees_the_date(tmp_path: Path) -> None:
    loop = "while :; do date +%s; sleep 1m 5; done"
    with on_worker(tmp_path, ["sh", "-c", loop]) as (worker, shell):
        clock = advanced(worker, 690)
        ended = clock.now()
        os.killpg(shell.pid, signal.SIGKILL)
        dates = [int(line) for line in shell.stdout.read().split()]
    assert len(dates) == 11
    assert all(64 <= later - earlier < 95 for earlier, later in itertools.pairwise(dates))
    assert 30 <= ended - dates[-1] < 65


def test_a_sleeper_that_was_killed_does_not_hold_time_up(tmp_path: Path) -> None:
    with on_worker(tmp_path, ["sleep", "100"]) as (worker, sleeper):
        advanced(worker, 1)  # until it sleeps
        assert list(worker.folder.glob("*_*"))
        sleeper.kill()
        sleeper.wait()
        advanced(worker, HOUR_S)
        assert not list(worker.folder.glob("*_*"))


def test_one_worker_may_have_a_wrong_time_of_day(tmp_path: Path) -> None:
    with on_worker(tmp_path, ["true"]) as (worker, process):
        process.wait()
        worker.skew(-600.0)
        env = {"LAUNCHER_CLOCK": str(worker.folder), "PYTHONPATH": AGENT_FOLDER}
        ask = "import clock, time; print(clock.time() - time.time(), clock.monotonic() - time.monotonic())"
        answer = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, check=True).stdout.split()
        seen = subprocess.run([tmp_path / "bin" / "date", "+%s"], env=env, capture_output=True, check=True).stdout
        real = subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout
    assert float(answer[0]) == pytest.approx(-600, abs=30)
    assert float(answer[1]) == pytest.approx(0, abs=30)
    assert int(seen) - int(real) == pytest.approx(-600, abs=30)


def test_a_command_that_sleeps_for_no_number_says_so(tmp_path: Path) -> None:
    with on_worker(tmp_path, ["sleep", "long"]) as (_, process):
        assert b"long" in process.stdout.read()
        assert process.wait() == 1


def test_a_simulated_worker_has_that_clock_in_every_command(tmp_path: Path) -> None:
    with machines(tmp_path / "machines") as room:
        worker = room.boot()
        room.run(room.clock.advance(2 * HOUR_S))
        seen = int(room.ssh(worker, tmp_path, "date +%s").stdout)
        assert abs(room.clock.now() - seen) < 30
        assert room.ssh(worker, tmp_path, "sleep 0.01; command -v sleep").stdout.startswith(bytes(worker.folder))


SPACED = """
import os, clock
for _ in range(3):
    clock.sleep(60)
    os.write(1, b"awake\\n")
    clock.sleep(4.9)
"""


def test_a_short_wait_is_a_real_one_and_does_not_hold_time_up(tmp_path: Path) -> None:
    with on_worker(tmp_path, [sys.executable, "-c", SPACED], PYTHONPATH=AGENT_FOLDER) as (worker, _):
        advanced(worker, 65)
        assert "_inf_" in next(worker.folder.glob("*_*")).name  # it is in its short wait, and time went on


# --- a whole simulator ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    delays_s = {"accepted": 600.0, "waiting": 7200.0, "provisioning": 120.0}
    with simulator(tmp_path_factory.mktemp("clock") / "sim", delays_s=delays_s) as running:
        yield running


def advance(status: control.Status, seconds: float) -> float:
    """Advances; the simulated time afterwards."""
    return parse_timestamp(control.advance(seconds, Path(status["state_dir"]))["time"])


def headers_of(status: control.Status, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(status["tpu"].removeprefix("http://"), timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/_sim/status", f"/v2/{PARENT}/nodes", "/storage/v1/b?project=p", "/nowhere"])
def test_the_one_date_of_every_answer_is_simulated(status: control.Status, path: str) -> None:
    now = advance(status, 1.5 * HOUR_S)
    dates = headers_of(status, path)[1].get_all("Date")
    assert dates is not None and len(dates) == 1
    assert abs(email.utils.parsedate_to_datetime(dates[0]).timestamp() - now) < 30


def test_a_request_goes_through_its_queue_in_simulated_time(status: control.Status) -> None:
    def state() -> str:
        return str(request(status, "GET", "queuedResources/queued")[1]["state"]["state"])

    node = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}
    body = {"tpu": {"nodeSpec": [{"parent": PARENT, "nodeId": "queued", "node": node}]}}
    before = advance(status, 1)
    assert request(status, "POST", "queuedResources?queuedResourceId=queued", body)[0] == 200
    seen = []
    for pause_s in (300, 400, 7200, 120):
        advance(status, pause_s)
        seen.append(state())
    assert seen == ["ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    created = parse_timestamp(request(status, "GET", "nodes/queued")[1]["createTime"])
    assert 7800 <= created - before < 7800 + 60


def test_a_request_that_waits_too_long_expires_in_simulated_time(status: control.Status) -> None:
    node = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}
    body = {
        "tpu": {"nodeSpec": [{"parent": PARENT, "nodeId": "late", "node": node}]},
        "queueingPolicy": {"validUntilDuration": "3600s"},
    }
    assert request(status, "POST", "queuedResources?queuedResourceId=late", body)[0] == 200
    advance(status, HOUR_S + 60)
    assert request(status, "GET", "queuedResources/late")[1]["state"]["state"] == "FAILED"


def test_an_object_is_as_old_as_simulated_time_says(status: control.Status) -> None:
    now = advance(status, HOUR_S)
    path = f"/upload/storage/v1/b/{status['bucket']}/o?uploadType=media&name=dated"
    code, stored = request(status, "POST", path, "x")
    assert code == 200
    assert abs(parse_timestamp(stored["updated"]) - now) < 30
    assert advance(status, HOUR_S) - parse_timestamp(stored["updated"]) >= HOUR_S


def test_tokens_grow_old_are_renewed_and_refused_in_the_end(status: control.Status, tmp_path: Path) -> None:
    with machines(tmp_path / "machines") as room:
        worker = room.boot()
        path = f"http://{worker.spec.address}:{room.metadata_port}/computeMetadata/v1/instance/service-accounts/default/token"

        def token() -> Any:
            answer = room.ssh(worker, tmp_path, f"curl -s -H Metadata-Flavor:Google {path}")
            return json.loads(answer.stdout)

        first = token()
        room.run(room.clock.advance(HOUR_S / 2))
        assert token()["access_token"] == first["access_token"]
        assert token()["expires_in"] <= first["expires_in"] - HOUR_S / 2
        room.run(room.clock.advance(HOUR_S / 2))
        assert token()["access_token"] != first["access_token"]
    given = {"Authorization": f"Bearer {first['access_token']}"}
    advance(status, 2 * HOUR_S)  # the machines' clock is another one, which was one hour ahead
    assert headers_of(status, "/storage/v1/b?project=p", **given)[0] == 401
    assert headers_of(status, "/storage/v1/b?project=p", Authorization="Bearer anything")[0] == 200


def test_what_cannot_be_advanced_by_is_refused(status: control.Status) -> None:
    for body, words in (({"seconds": -1}, "more than 0 s"), ({"seconds": 1e12}, "at most"), ({}, "expected")):
        code, answer = request(status, "POST", "/_sim/advance", body)
        assert code == 400 and words in answer["error"]["message"]


def test_the_command_says_what_time_it_is_and_the_status_too(tmp_path: Path) -> None:
    env = {**os.environ, "LAUNCHER_SIM_DIR": str(tmp_path / "sim")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "launcher.cli", "sim", *arguments]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    refused = run("advance", "30m")
    assert refused.returncode != 0 and "launcher sim start" in refused.stderr
    with simulator(tmp_path / "sim"):
        assert "simulated time" not in run("status").stdout
        assert "1:30:00 ahead" in run("advance", "1h30m").stdout
        assert "1:30:00 ahead" in run("status").stdout
        assert json.loads(run("advance", "45s", "--json").stdout)["ahead_s"] == pytest.approx(5445, abs=30)
        wrong = run("advance", "soon")
        assert wrong.returncode == 2 and "30m" in wrong.stderr and "Traceback" not in wrong.stderr
