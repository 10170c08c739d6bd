"""What `launcher sim` does: start, stop, status, env, inject, advance.

Returns data or raises SimulatorError; prints nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.sim import endpoints, tpu_phases
from launcher.sim.folder import Folder, FolderError, FolderInUse, default_folder

#: A simulator serves in well under a second; a machine that is busy with other things may take longer.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 10.0
_POLL_S = 0.005
# Of server.py, which is not imported here: it takes a third of a second.
_ERROR_PREFIX = "error: "
_IN_USE = 3

#: `{"tpu", "storage", "project", "bucket", "state_dir", "pid", "ssh_port", "workers": […], …}`
Status = dict[str, Any]


class SimulatorError(Exception):
    """The simulator cannot do what was asked; the message says why and what helps."""


@dataclass(frozen=True)
class Started:
    """The outcome of `start`: `status`, and whether the simulator had been running before."""

    status: Status
    was_running: bool


def start(
    folder: Path | None = None,
    *,
    port: int = 0,
    delays_s: Mapping[str, float] | None = None,
    idle_exit_s: float | None = None,
) -> Started:
    """Start a simulator on `folder` (default: `default_folder()`) in the background; return when it serves.

    `port`: of 127.0.0.1, 0 takes a free one. `delays_s`: phase -> seconds, see tpu_nodes.DEFAULT_DELAYS_S.
    `idle_exit_s`: it ends by itself when it has had no node and no request for so long. One that serves from
    the folder already is reported, not changed. Raises SimulatorError.
    """
    place = _folder(folder)
    try:
        tpu_phases.check(delays_s or {})
        place.prepare()
    except (FolderError, ValueError) as error:
        raise SimulatorError(str(error)) from error
    arguments = serve_arguments(place.path, port, delays_s or {}, idle_exit_s)
    with _changing(place):
        if (running := status(place.path)) is not None:
            if port and not running["tpu"].endswith(f":{port}"):
                raise SimulatorError(
                    f"a simulator serves at {running['tpu']} already, not on port {port}; "
                    "stop it first: launcher sim stop"
                )
            return Started(running, was_running=True)
        return Started(_start_server(place, arguments), was_running=False)


def _start_server(place: Folder, arguments: list[str]) -> Status:
    process = _spawn(place, arguments)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if (running := status(place.path)) is not None:
            return running
        if ended and not place.is_locked():
            if process.returncode != _IN_USE:
                raise SimulatorError(_why_it_ended(place))
            process = _spawn(place, arguments)  # the one before took its time to end
        time.sleep(_POLL_S)
    process.kill()
    raise SimulatorError(f"the simulator does not serve after {START_TIMEOUT_S:g} s; see {place.log}")


@contextlib.contextmanager
def _changing(place: Folder) -> Iterator[None]:
    try:
        with place.changing(START_TIMEOUT_S):
            yield
    except FolderInUse as error:
        raise SimulatorError(f"another process is starting or stopping the simulator in {place.path}") from error


def serve_arguments(
    folder: Path, port: int = 0, delays_s: Mapping[str, float] | None = None, idle_exit_s: float | None = None
) -> list[str]:
    """The arguments of `python -m launcher.sim` that serve with these options."""
    arguments = ["serve", "--dir", str(folder), "--port", str(port)]
    for phase, seconds in (delays_s or {}).items():
        arguments += ["--delay", f"{phase}={seconds:g}"]
    if idle_exit_s is not None:
        arguments += ["--idle-exit-s", f"{idle_exit_s:g}"]
    return arguments


def stop(folder: Path | None = None) -> bool:
    """End the simulator and every process of its workers; True when there was one. Raises SimulatorError."""
    place = _folder(folder)
    if not place.path.exists():
        return False
    with _changing(place):
        where = place.noted()
        if where is None and place.is_locked():
            raise SimulatorError(f"the simulator in {place.path} is starting or ending; try again")
        if where is not None:
            _stop_server(place, where)
    return where is not None


def _stop_server(place: Folder, where: Mapping[str, Any]) -> None:
    # If it does not answer, it is killed below.
    with contextlib.suppress(OSError, http.client.HTTPException, SimulatorError):
        _request(where, "POST", "/_sim/shutdown")
    pids = [pid for pid in (where["pid"], where["keeper_pid"]) if pid is not None]
    if _wait_until_gone(pids, STOP_TIMEOUT_S):
        return
    if place.is_locked():  # else the number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(where["pid"], signal.SIGKILL)
    if not _wait_until_gone(pids, STOP_TIMEOUT_S):
        raise SimulatorError(f"processes {pids} of the simulator in {place.path} do not end")
    place.forget()


def status(folder: Path | None = None) -> Status | None:
    """Where the simulator serves and what it holds; None when none serves."""
    where = _folder(folder).noted()
    if where is None:
        return None
    try:
        answer: Status = _request(where, "GET", "/_sim/status")
    except (OSError, http.client.HTTPException):
        return None  # it ended between the two looks
    return answer


def env(folder: Path | None = None, *, terraform: bool = False) -> dict[str, str]:
    """Environment variables that point other clients at the simulator. Raises SimulatorError when none serves."""
    where = _running(_folder(folder))
    variables = endpoints.of_clients(where["tpu"], where["project"])
    return variables | endpoints.of_terraform(where["tpu"], where["project"]) if terraform else variables


def inject(
    name: str,
    *,
    node: str | None = None,
    zone: str | None = None,
    count: int = 1,
    value: str | None = None,
    off: bool = False,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Let fault `name` happen, or with `off` take it back (`cleared`: how many).

    At once (`nodes`: what it struck), to what comes next (`armed`: how often), or from now on (`standing`).
    `node` is an id or a full name. Raises SimulatorError: none serves, no such fault, node, zone or value.
    """
    where = _running(_folder(folder))
    wanted = {"name": name, "node": node, "zone": zone, "count": count, "value": value, "off": off}
    answer: dict[str, Any] = _request(where, "POST", "/_sim/inject", wanted)
    return answer


def advance(seconds: float, folder: Path | None = None) -> dict[str, Any]:
    """Move the simulator's time on by `seconds`. `time` and `ahead_s` in the answer: what it is then, and by how much
    it differs from this machine's. Whoever would have woken meanwhile has been awake. Raises SimulatorError."""
    where = _running(_folder(folder))
    answer: dict[str, Any] = _request(where, "POST", "/_sim/advance", {"seconds": seconds}, timeout_s=None)
    return answer


def _folder(path: Path | None) -> Folder:
    return Folder(default_folder() if path is None else path.absolute())


def _running(place: Folder) -> dict[str, Any]:
    if (where := place.noted()) is None:
        raise SimulatorError(f"no simulator serves from {place.path}; start one with: launcher sim start")
    return where


def _spawn(place: Folder, arguments: list[str]) -> subprocess.Popen[bytes]:
    """The keeper with the server below it, detached from this terminal and process."""
    source = str(Path(__file__).parents[2])
    # -P: a file in the current folder must not stand in for a module of the simulator.
    python = [sys.executable, "-P", "-m"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), source]))}
    with open(os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb") as log:
        process = subprocess.Popen(
            [*python, "launcher.sim.keeper", "--", *python, "launcher.sim", *arguments, "--kept"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    # Somebody has to wait for a child, or it stays a zombie for as long as this process lives.
    threading.Thread(target=process.wait, name="launcher-sim-keeper", daemon=True).start()
    return process


def _why_it_ended(place: Folder) -> str:
    lines = place.last_log_lines()
    if lines and lines[-1].startswith(_ERROR_PREFIX):
        return lines[-1].removeprefix(_ERROR_PREFIX)
    return "\n".join([f"the simulator ended before it served; the end of {place.log}:", *lines])


def _request(
    where: Mapping[str, Any],
    method: str,
    path: str,
    body: object = None,
    timeout_s: float | None = REQUEST_TIMEOUT_S,
) -> Any:
    """One request to the simulator. Raises OSError or HTTPException (no answer), SimulatorError (refused)."""
    address = where["tpu"].removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer = json.loads(response.read() or b"{}")
    finally:
        connection.close()
    if response.status != 200:
        raise SimulatorError(answer.get("error", {}).get("message", f"HTTP {response.status}"))
    return answer


def _wait_until_gone(pids: list[int], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(_lives(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the number is another user's process now
        return False
    return True
