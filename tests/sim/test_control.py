"""Starting, finding and ending simulators, as `launcher sim` does."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.sim import control
from launcher.sim.folder import default_folder
from tests.sim.tpu_fixtures import PARENT, ZONE, empty, request, simulator, until

NODE = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for a simulator; whatever serves there is ended."""
    place = tmp_path / "simulator"
    yield place
    control.stop(place)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running simulator, for tests that leave it as it was."""
    place = tmp_path_factory.mktemp("shared")
    with simulator(place):
        yield place


def make_ready(status: control.Status, name: str, **fields: Any) -> dict[str, Any]:
    """Create a node and return it when it is READY."""
    assert request(status, "POST", f"nodes?nodeId={name}", {**NODE, **fields})[0] == 200
    found: dict[str, Any] = until(
        lambda: request(status, "GET", f"nodes/{name}")[1], lambda node: node.get("state") == "READY"
    )
    return found


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(*pids: int) -> None:
    until(lambda: [pid for pid in pids if lives(pid)], lambda left: not left)


def script_writing_pids(file: Path) -> str:
    """A startup script that leaves two processes behind, one of them in a session of its own."""
    draft = f"{file}.draft"
    return f"#!/bin/sh\nsleep 1000 &\na=$!\nsetsid sleep 1000 &\necho $a $! > {draft}\nmv {draft} {file}\nwait\n"


def started_pids(file: Path) -> list[int]:
    until(file.exists, bool)
    return [int(word) for word in file.read_text().split()]


def test_start_serves_and_stop_ends_every_process(folder: Path) -> None:
    status = control.start(folder).status
    assert control.status(folder) == status
    assert request(status, "GET", "nodes") == (200, {})
    assert request(status, "GET", f"/storage/v1/b/{status['bucket']}")[0] == 200
    assert request(status, "GET", f"/storage/v1/b/{status['control_bucket']}")[0] == 200
    assert control.stop(folder) is True
    assert not lives(status["pid"]) and not lives(status["keeper_pid"])
    assert control.status(folder) is None and not (folder / "sim.json").exists()
    assert control.stop(folder) is False


def test_folder_is_private(shared: Path) -> None:
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    files = [each for each in shared.iterdir() if each.is_file()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_folder_that_others_can_read_and_that_holds_other_files_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "thesis.tex").touch()
    with pytest.raises(control.SimulatorError, match="chmod 700"):
        control.start(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_second_start_reports_the_one_that_runs(folder: Path) -> None:
    first = control.start(folder)
    second = control.start(folder)
    assert (first.was_running, second.was_running) == (False, True)
    assert second.status["pid"] == first.status["pid"] and second.status["tpu"] == first.status["tpu"]
    with pytest.raises(control.SimulatorError, match=r"already, not on port 1; stop it first"):
        control.start(folder, port=1)


def test_starts_at_the_same_moment_make_one_simulator(folder: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: control.start(folder), range(3)))
    assert len({outcome.status["pid"] for outcome in outcomes}) == 1
    assert sorted(outcome.was_running for outcome in outcomes) == [False, True, True]
    control.stop(folder)
    assert control.status(folder) is None


def test_simulators_side_by_side_do_not_meet(folder: Path, tmp_path: Path) -> None:
    with simulator(folder) as one, simulator(tmp_path / "other") as other:
        make_ready(one, "mine")
        assert request(other, "GET", "nodes") == (200, {})
        make_ready(other, "mine")
        assert one["tpu"] != other["tpu"] and one["ssh_port"] != other["ssh_port"]
        control.stop(tmp_path / "other")
        assert request(one, "GET", "nodes/mine")[1]["state"] == "READY"


def test_taken_port_is_named_with_its_holder(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(control.SimulatorError, match=f"port {port} .* taken .*--port") as caught:
            control.start(folder, port=port)
    assert f"(pid {os.getpid()})" in str(caught.value) and "\n" not in str(caught.value)
    assert control.status(folder) is None


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_port_is_refused(folder: Path, port: int) -> None:
    with pytest.raises(control.SimulatorError, match=f"port {port} "):
        control.start(folder, port=port)


@pytest.mark.parametrize("delays_s", [{"teatime": 1.0}, {"waiting": -1.0}])
def test_impossible_delay_is_refused(folder: Path, delays_s: dict[str, float]) -> None:
    with pytest.raises(control.SimulatorError, match=r"teatime|waiting"):
        control.start(folder, delays_s=delays_s)


def test_start_on_a_chosen_port_and_again_on_the_same(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for _ in range(2):
        with simulator(folder, port=port) as status:
            assert status["tpu"] == f"http://127.0.0.1:{port}"
            assert request(status, "GET", "nodes")[0] == 200


def test_restart_keeps_nodes_queue_and_objects(folder: Path) -> None:
    upload = "/upload/storage/v1/b/simulated-jobs/o?uploadType=media&name=kept&ifGenerationMatch=0"
    with simulator(folder) as status:
        node = make_ready(status, "kept")
        keys = request(status, "POST", "nodes/kept:getGuestAttributes", {})[1]
        spec = {"parent": PARENT, "nodeId": "n", "node": NODE}
        request(status, "POST", "queuedResources?queuedResourceId=q", {"tpu": {"nodeSpec": [spec]}})
        until(
            lambda: request(status, "GET", "queuedResources/q")[1]["state"]["state"],
            lambda state: state == "ACTIVE",
        )
        assert request(status, "POST", upload, "content")[0] == 200
    with simulator(folder) as again:
        assert request(again, "GET", "nodes/kept") == (200, node)
        assert request(again, "POST", "nodes/kept:getGuestAttributes", {})[1] == keys
        assert request(again, "GET", "queuedResources/q")[1]["state"]["state"] == "ACTIVE"
        assert request(again, "GET", "/storage/v1/b/simulated-jobs/o/kept")[1]["size"] == "7"
        workers = [(each["node"].rsplit("/", 1)[-1], each["port"]) for each in again["workers"]]
        assert workers == [("kept", again["ssh_port"]), ("n", again["ssh_port"])]


@pytest.mark.parametrize("ending", ["stop", "kill the server", "delete", "preempt"])
def test_every_ending_kills_the_processes_of_the_workers(folder: Path, tmp_path: Path, ending: str) -> None:
    pids = tmp_path / "pids"
    status = control.start(folder).status
    make_ready(status, "busy", metadata={"startup-script": script_writing_pids(pids)})
    running = started_pids(pids)
    assert all(lives(pid) for pid in running)
    if ending == "stop":
        control.stop(folder)
    elif ending == "kill the server":
        os.kill(status["pid"], signal.SIGKILL)
        gone(status["keeper_pid"])
        assert control.status(folder) is None
    elif ending == "delete":
        request(status, "DELETE", "nodes/busy")
        empty(status)
    else:
        control.inject("preemption", folder=folder)
    gone(*running)


def test_simulator_starts_again_after_its_server_was_killed(folder: Path) -> None:
    status = control.start(folder).status
    make_ready(status, "kept")
    os.kill(status["pid"], signal.SIGKILL)
    gone(status["keeper_pid"])
    again = control.start(folder)
    assert again.was_running is False
    assert request(again.status, "GET", "nodes/kept")[1]["state"] == "READY"


def test_simulator_that_hangs_is_killed_by_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = control.start(folder).status
    os.kill(status["pid"], signal.SIGSTOP)
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.1)
    monkeypatch.setattr(control, "STOP_TIMEOUT_S", 0.5)
    assert control.stop(folder) is True
    gone(status["pid"], status["keeper_pid"])


def test_sigterm_ends_it_in_order(folder: Path) -> None:
    status = control.start(folder).status
    os.kill(status["pid"], signal.SIGTERM)
    gone(status["pid"], status["keeper_pid"])
    assert not (folder / "sim.json").exists()


def test_idle_simulator_ends_by_itself_once_its_last_node_is_gone(folder: Path) -> None:
    status = control.start(folder, idle_exit_s=0.2).status
    make_ready(status, "last")
    empty(status)
    gone(status["pid"], status["keeper_pid"])
    assert control.status(folder) is None


def test_delays_make_a_phase_last(folder: Path) -> None:
    with simulator(folder, delays_s={"provisioning": 3600}) as status:
        request(status, "POST", "nodes?nodeId=slow", NODE)
        assert request(status, "GET", "nodes/slow")[1]["state"] == "CREATING"
        empty(status)


def test_env_points_other_clients_here(shared: Path) -> None:
    url = control.env(shared)["STORAGE_EMULATOR_HOST"]
    assert request({"tpu": url}, "GET", "nodes")[0] == 200
    variables = control.env(shared)
    assert variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU"] == f"{url}/"
    assert variables["CLOUDSDK_CORE_PROJECT"] == "simulated-project"
    assert "GOOGLE_TPU_V2_CUSTOM_ENDPOINT" not in variables
    provider = control.env(shared, terraform=True)
    assert provider["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"] == f"{url}/v2/"
    assert provider["GOOGLE_STORAGE_CUSTOM_ENDPOINT"] == f"{url}/storage/v1/"


def test_what_needs_a_simulator_says_how_to_start_one(folder: Path) -> None:
    with pytest.raises(control.SimulatorError, match="launcher sim start"):
        control.env(folder)
    with pytest.raises(control.SimulatorError, match="launcher sim start"):
        control.inject("stockout", folder=folder)


def test_impossible_injections_are_refused(shared: Path) -> None:
    with pytest.raises(control.SimulatorError, match=r"'earthquake'.*preemption"):
        control.inject("earthquake", folder=shared)
    with pytest.raises(control.SimulatorError, match="no node called 'none' is READY"):
        control.inject("preemption", node="none", folder=shared)
    with pytest.raises(control.SimulatorError, match="at least 1"):
        control.inject("stockout", count=0, folder=shared)


def test_storage_fails_as_often_as_injected(shared: Path) -> None:
    assert control.inject("gcs-503", count=2, folder=shared) == {"name": "gcs-503", "armed": 2}
    status = control.start(shared).status
    path = "/storage/v1/b/simulated-jobs"
    assert [request(status, "GET", path)[0] for _ in range(3)] == [503, 503, 200]


def test_default_folder_is_chosen_by_the_environment() -> None:
    assert default_folder({"LAUNCHER_SIM_DIR": "/a"}) == Path("/a")
    assert default_folder({"XDG_STATE_HOME": "/b"}) == Path("/b/launcher/sim")
    assert default_folder({}) == Path.home() / ".local/state/launcher/sim"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher.sim", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "LAUNCHER_SIM_DIR": str(folder)},
    )


def test_start_succeeds_while_the_one_before_is_still_ending(folder: Path) -> None:
    first = control.start(folder).status
    os.kill(first["pid"], signal.SIGTERM)
    until(lambda: control.status(folder), lambda status: status is None)
    second = control.start(folder)
    assert second.was_running is False and second.status["pid"] != first["pid"]
    assert request(second.status, "GET", "nodes")[0] == 200


def test_simulator_whose_folder_was_removed_ends(folder: Path) -> None:
    status = control.start(folder).status
    shutil.rmtree(folder)
    gone(status["pid"], status["keeper_pid"])


def test_command_line(folder: Path) -> None:
    assert command(folder, "status").returncode == 1
    started = command(folder, "start", "--delay", "waiting=0.5")
    assert started.returncode == 0 and "serving at http://127.0.0.1:" in started.stdout
    found = json.loads(command(folder, "status", "--json").stdout)
    expected = {"tpu", "storage", "project", "bucket", "state_dir", "pid", "workers"}
    assert expected <= set(found) and found["state_dir"] == str(folder)
    exports = command(folder, "env", "--terraform").stdout.splitlines()
    assert f"export STORAGE_EMULATOR_HOST={found['storage']}" in exports
    assert command(folder, "inject", "stockout", "--zone", ZONE).returncode == 0
    failed = command(folder, "inject", "earthquake")
    assert failed.returncode == 1 and failed.stderr.startswith("launcher sim: ")
    assert "Traceback" not in failed.stderr
    assert command(folder, "stop").stdout == "simulator stopped\n"
    assert json.loads(command(folder, "status", "--json").stdout) is None
    assert command(folder, "start", "--delay", "teatime=1").returncode == 2
