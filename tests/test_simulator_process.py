from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import simulator_process
from launcher.cloud.storage import GcsBucket
from launcher.config import load_profile
from launcher.errors import ConfigError, Unavailable
from launcher.private_files import write_private
from launcher.sim import control


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "sim"
    monkeypatch.setenv("LAUNCHER_SIM_DIR", str(folder))
    yield folder
    control.stop(folder)


def test_one_is_started_once_and_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulator_process.find() is None
    monkeypatch.setenv("LAUNCHER_PROFILE", "simulator")
    profile = load_profile(interactive=False, cloud_only=("spot",))
    assert load_profile("simulator") == profile
    assert (profile.name, profile.simulated, profile.credentials) == ("simulator", True, "anonymous")
    assert profile.owner and profile.zones
    bucket = GcsBucket(profile.bucket, profile.storage_endpoint, credentials=profile.credentials)
    assert bucket.create("hello", b"x") is not None
    status = control.status(folder)
    assert status is not None and status["storage"] == profile.storage_endpoint
    control.stop(folder)
    assert simulator_process.find() is None


def test_a_file_that_a_crash_left(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    info: dict[str, Any] = {"tpu": "http://127.0.0.1:1", "pid": 1}
    write_private(folder / "sim.json", json.dumps(info).encode())
    assert simulator_process.find() is None


def test_another_simulator_on_the_noted_port(folder: Path, tmp_path: Path) -> None:
    control.start(folder)
    noted = json.loads((folder / "sim.json").read_text())
    write_private(tmp_path / "other" / "sim.json", json.dumps(noted | {"pid": noted["pid"] + 1}).encode())
    assert simulator_process.find(folder) is not None
    assert simulator_process.find(tmp_path / "other") is None


def test_a_file_that_others_can_write_is_not_trusted(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "sim.json").write_text("{}")
    (folder / "sim.json").chmod(0o666)
    with pytest.raises(ConfigError, match=r"sim\.json is open to other users"):
        simulator_process.find()


def test_why_it_does_not_start(folder: Path) -> None:
    folder.write_text("not a folder")
    with pytest.raises((Unavailable, ConfigError), match=str(folder)):
        load_profile("simulator")
    folder.unlink()


def test_the_extra_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "asyncssh" else find_spec(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"asyncssh.*pip install 'tpu-launcher\[sim\]'"):
        load_profile("simulator")
