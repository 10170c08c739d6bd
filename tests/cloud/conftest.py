"""One simulator for all tests of the cloud seams, and a relay in front of it that loses what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.config import Profile
from launcher.sim import control
from launcher.simulator_process import to_profile
from tests.cloud.relay import FakeClock, Relay


@pytest.fixture(scope="session")
def sim_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("simulator")
    control.start(folder)
    yield folder
    control.stop(folder)


@pytest.fixture(scope="session")
def profile(sim_folder: Path) -> Profile:
    status = control.status(sim_folder)
    assert status is not None
    return to_profile(status)


@pytest.fixture
def relay(profile: Profile) -> Iterator[Relay]:
    relay = Relay(profile.storage_endpoint)
    yield relay
    relay.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
