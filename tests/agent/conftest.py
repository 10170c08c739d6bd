from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.agent import rest
from launcher.records.jobs import Blob
from tests.agent.google import Google, serve
from tests.agent.worker import Worker, agent_archive, lock_file, uv_blob

_PASSED_ON = ("UV_", "PIP_", "SSL_")  # what a machine image of this organisation would hold


@pytest.fixture(scope="session")
def google_state() -> Iterator[Google]:
    google, server = serve()
    yield google
    rest.forget_connections()  # what tests asked in this process
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, google_state: Google) -> Worker:
    """One worker for all tests: its environment is built once, as on a real one."""
    folder = tmp_path_factory.mktemp("worker")
    home = folder / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        # The worker has the client's Python, wherever these tests' own comes from.
        "PATH": f"{Path(os.path.realpath(sys.executable)).parent}:{os.environ['PATH']}",
        "GCE_METADATA_HOST": google_state.url.removeprefix("http://"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        **{name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)},
    }
    empty = Blob("0" * 64, 0)
    worker = Worker(home, google_state, agent_archive(folder / "agent.pyz"), empty, empty, environment)
    worker.uv = worker.upload(uv_blob())
    worker.lock = worker.upload(lock_file(folder))
    return worker


@pytest.fixture
def worker(machine: Worker) -> Iterator[Worker]:
    machine.attempts.clear()
    machine.sessions.clear()
    machine.google.requests.clear()
    machine.google.deleted.clear()
    machine.google.faults.clear()
    machine.google.preempted = False
    yield machine
    machine.google.faults.clear()
    machine.end()


@pytest.fixture
def google(worker: Worker) -> Google:
    return worker.google


@pytest.fixture(scope="session")
def numpy_lock(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A lock with numpy in it."""
    return lock_file(tmp_path_factory.mktemp("numpy"), "numpy")
