"""For every test: the user's own settings, credentials and simulators are neither read nor touched."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.functions.environment import function_python

__all__ = ["function_python"]

# A busy machine is no reason to fail: no test has a deadline per example.
hypothesis.settings.register_profile("launcher", deadline=None)
hypothesis.settings.load_profile("launcher")

# Folders whose tests wait for other processes, the longest first: they begin at once, and the rest fills the gaps.
_SLOW = ("e2e", "terraform", "functions", "cli")

_SIM = [sys.executable, "-m", "launcher.sim"]
_FOREIGN_PREFIXES = ("LAUNCHER_", "GCE_METADATA_", "GOOGLE_", "GCLOUD_", "STORAGE_EMULATOR_")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly: its order stays within a folder."""
    folders = [Path(__file__).parent / each for each in _SLOW]

    def rank(item: pytest.Item) -> int:
        return next((at for at, folder in enumerate(folders) if folder in item.path.parents), len(folders))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def isolated_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Takes launcher and Google settings out of the environment and points the rest at empty folders."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith(_FOREIGN_PREFIXES)]:
            patch.delenv(name)
        patch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        patch.setenv("LAUNCHER_SIM_DIR", str(tmp_path_factory.mktemp("sim")))
        patch.setenv("CLOUDSDK_CONFIG", str(tmp_path_factory.mktemp("gcloud")))
        yield


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user of one simulator, which serves until the session ends.

    Whoever makes nodes in it deletes them.
    """
    with _serving(tmp_path_factory.mktemp("user")) as env:
        yield env
        status = subprocess.run([*_SIM, "status"], env=env, check=False, stdout=subprocess.DEVNULL)
        log = Path(env["LAUNCHER_SIM_DIR"]) / "log"
        assert status.returncode == 0, f"the simulator ended on its own:\n{log.read_text(errors='replace')}"


@pytest.fixture
def fresh_simulator(tmp_path: Path) -> Iterator[dict[str, str]]:
    """As `simulator`, for one test alone: empty, and free to be harmed."""
    with _serving(tmp_path / "user") as env:
        yield env


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[dict[str, str]]:
    env = {
        **os.environ,
        "LAUNCHER_PROFILE": "simulator",
        "LAUNCHER_SIM_DIR": str(folder / "sim"),
        "LAUNCHER_CONFIG_DIR": str(folder / "config"),
        "LAUNCHER_CACHE_DIR": str(folder / "cache"),
    }
    # It ends by itself where a killed test run cannot end it.
    subprocess.run([*_SIM, "start", "--idle-exit-s", "1800"], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        yield env
    finally:
        subprocess.run([*_SIM, "stop"], env=env, check=True, stdout=subprocess.DEVNULL)
