"""What the agent adds to a function that does nothing, on a worker whose environment is ready."""

from __future__ import annotations

import contextlib
import fcntl
import pickle
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cloudpickle

from launcher.records.jobs import Blob, JobStatus
from launcher.shipping import agent_archive
from tests.agent.google import serve
from tests.agent.worker import Worker, lock_file, uv_blob
from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row

_PLAIN_CALL = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    function, args, kwargs = pickle.load(file)
value = function(*args, **kwargs)
with open(sys.argv[2], "wb") as file:
    pickle.dump(value, file, protocol=5)
"""
_VALUE = 42


def overhead(sandbox: Sandbox, runs: int = 11) -> Iterator[Row]:
    """The agent's own time for the phase `running`, beside the same interpreter running the same pickled call."""
    function = lambda: _VALUE  # noqa: E731  # goes by value, as what a user's script defines does
    payload, result = sandbox.folder / "call.pkl", sandbox.folder / "value.pkl"
    payload.write_bytes(cloudpickle.dumps((function, (), {}), protocol=5))
    with _worker(sandbox) as worker:
        _running_s(worker, function)  # builds the environment
        python = next((worker.home / ".launcher" / "envs").glob("*/bin/python"))
        command = [str(python), "-c", _PLAIN_CALL, str(payload), str(result)]
        _plain_s(sandbox, command)
        pairs = [(_running_s(worker, function), _plain_s(sandbox, command)) for _ in range(runs)]
    if pickle.loads(result.read_bytes()) != _VALUE:
        raise AssertionError("the plain call did not run")
    measured, floor = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    what = "phase `running` of a trivial function, environment ready"
    yield Row(what, "s", measured, floor, "that environment's Python, same pickle", 0.1, Of.ABOVE_FLOOR, runs)


@contextlib.contextmanager
def _worker(sandbox: Sandbox) -> Iterator[Worker]:
    """A home folder with the agent as it is shipped, and a bucket in this process."""
    google, server = serve()
    home = sandbox.folder / "worker"
    home.mkdir()
    agent = sandbox.folder / "agent.pyz"
    agent.write_bytes(agent_archive())
    environment = {
        **sandbox.env,
        "HOME": str(home),
        "UV_CACHE_DIR": sandbox.env.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        "GCE_METADATA_HOST": google.url.removeprefix("http://"),
    }
    empty = Blob("0" * 64, 0)
    worker = Worker(home, google, agent, empty, empty, environment)
    worker.uv, worker.lock = worker.upload(uv_blob()), worker.upload(lock_file(sandbox.folder))
    try:
        yield worker
    finally:  # the supervisors, which stay to see their node gone, end with the sandbox
        server.shutdown()
        server.server_close()


def _running_s(worker: Worker, function: object) -> float:
    attempt = worker.call(function)
    report = attempt.report()
    if report.status is not JobStatus.SUCCEEDED:
        raise AssertionError(f"the measured job ended as {report}")
    with open(worker.home / ".launcher" / "worker.lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the worker is free for the next one
    return attempt.phases[-1].timings_s["running"]


def _plain_s(sandbox: Sandbox, command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=sandbox.env, stdin=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
