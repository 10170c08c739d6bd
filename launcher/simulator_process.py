"""The built-in profile `simulator`: finds the simulator of this user, or starts one as a process."""

from __future__ import annotations

import getpass
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from launcher.config import SIMULATOR, Profile, normalise_owner
from launcher.errors import ConfigError, Unavailable
from launcher.private_files import read_private

IDLE_EXIT_S = 600  # one that was started by a call ends when it has been empty and unused for so long
_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 5.0
_SERVERS = ("asyncssh", "httptools", "starlette", "uvicorn")
_ZONES = ("us-central1-a", "us-central1-b", "us-east5-a", "us-west4-a", "europe-west4-b")


def state_dir() -> Path:
    """The folder of this user's simulator: LAUNCHER_SIM_DIR, else one below the state folder."""
    if chosen := os.environ.get("LAUNCHER_SIM_DIR"):
        return Path(chosen).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "launcher" / "sim"


def find(folder: Path | None = None) -> dict[str, Any] | None:
    """What the simulator in `folder` wrote of itself, None where none answers there."""
    data = read_private((folder or state_dir()) / "sim.json")
    if data is None:
        return None
    info: dict[str, Any] = json.loads(data)
    address = urllib.parse.urlsplit(info["tpu"]).netloc
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_TIMEOUT_S)  # never through a proxy
    try:
        connection.request("GET", "/_sim/status")
        answer = connection.getresponse()
        # Another simulator may have the port by now, after a crash that left the file.
        return info if answer.status == 200 and json.loads(answer.read()).get("pid") == info["pid"] else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def find_or_start() -> Profile:
    """The profile of this user's simulator, which is started where none runs. Raises ConfigError, Unavailable."""
    info = find()
    if info is None:
        _start()
        info = find()
    if info is None:
        raise Unavailable("The simulator started and ended at once. See: launcher sim status")
    return to_profile(info)


def check_serves(profile: Profile) -> None:
    """ConfigError where nobody answers at the address of a profile that was saved for a simulator."""
    address = urllib.parse.urlsplit(profile.tpu_endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=_ANSWER_TIMEOUT_S).close()
    except OSError as exc:
        again = f"launcher init --bucket {profile.control_bucket} --profile {profile.name}"
        fix = f'eval "$(launcher sim env)" && {again}' if profile.control_bucket else "launcher sim status"
        raise ConfigError(
            f"Profile {profile.name!r} is of a simulator that no longer answers at {profile.tpu_endpoint}. Start it "
            f"with: launcher sim start. It has another address then: {fix}"
        ) from exc


def to_profile(info: dict[str, Any]) -> Profile:
    """The profile that a simulator's sim.json amounts to."""
    return Profile(
        name=SIMULATOR,
        platform="sim",
        project=info["project"],
        zones=_ZONES,
        bucket=info["bucket"],
        control_bucket=info.get("control_bucket", "simulated-control"),
        connect="internal",
        proxy_command=info.get("proxy_command", ""),
        ssh_port=info["ssh_port"],
        tpu_endpoint=info["tpu"],
        storage_endpoint=info["storage"],
        resource_manager_endpoint=info["tpu"],
        service_usage_endpoint=info["tpu"],
        iam_endpoint=info["tpu"],
        container_endpoint=f"{info['tpu']}/container.googleapis.com",
        compute_endpoint=f"{info['tpu']}/compute.googleapis.com",
        kubernetes_endpoint=info["tpu"],
        credentials="anonymous",
        owner=normalise_owner(_user()),
        simulated=True,
    )


def check_installed() -> None:
    """ConfigError where the simulator's servers, an extra of the distribution, are not installed."""
    missing = [name for name in _SERVERS if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"The simulator needs {', '.join(missing)}. Install it: pip install 'tpu-launcher[sim]'")


def _start() -> None:
    check_installed()
    python_path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
    # -P and "/": a file of the user's named like a standard module must not be imported.
    command = [sys.executable, "-P", "-m", "launcher.sim", "start", "--idle-exit-s", str(IDLE_EXIT_S)]
    with tempfile.TemporaryFile() as output:  # a pipe would stay open for as long as the simulator runs
        try:
            ended = subprocess.run(
                [*command, "--dir", str(state_dir())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=os.environ | {"PYTHONPATH": python_path},
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise Unavailable(f"The simulator does not serve after {_START_TIMEOUT_S:g} s.") from exc
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    if ended.returncode != 0:
        raise Unavailable(f"The simulator does not start:\n{said}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"user-{os.getuid()}"
