"""A function as Google runs it: its archive in a folder of its own, under the functions framework, and its callers."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.config import Profile
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform
from launcher.functions.archive import function_archive
from launcher.records.leases import LeaseState, reserve
from tests.e2e.leftovers import wait_until
from tests.functions.tokens import AUDIENCE, CALLER, bearer

ZONE, OTHER_ZONE = "us-central1-a", "us-west4-a"
OURS = {"launcher-platform": "sim", "launcher-owner": "ada"}


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a function runs: the folder of its archive, and the interpreter of its environment."""

    folder: Path
    python: Path

    def log(self) -> list[dict[str, Any]]:
        """What the function wrote for Google's log agent."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def site(tmp_path: Path, function_python: Path) -> Site:
    with zipfile.ZipFile(io.BytesIO(function_archive())) as opened:
        opened.extractall(tmp_path / "site")
    return Site(tmp_path / "site", function_python)


class World:
    """Nodes and leases in a simulator of this test's own."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.platform = Platform(profile)

    def add(self, name: str, zone: str = ZONE, state: LeaseState | None = None, **lease: Any) -> None:
        """A READY node, with a lease in that state."""
        if state is not None:
            made = reserve(
                resource=name, zone=zone, platform="sim", owner="ada", holder="ada@laptop:1-f",
                accelerator="v5litepod-1", spot=False, **lease,
            )  # fmt: skip
            lease_book.create(self.platform.store, dataclasses.replace(made, state=state))
        labels = OURS if name.startswith("sim-") else {}
        spec = NodeSpec(name, f"{name}-0", "v5litepod-1", "v2-alpha-tpuv5-lite", labels, {})
        self.platform.nodes.create_queued_resource(zone, spec)

    def ready(self) -> None:
        def all_ready() -> bool:
            found = [each for zone in (ZONE, OTHER_ZONE) for each in self.platform.nodes.list_queued_resources(zone)]
            return all(each.state == "ACTIVE" for each in found)

        assert wait_until(all_ready, 60.0)

    def ask(self, what: str, **body: Any) -> None:
        """Of the simulator itself."""
        self.post(f"_sim/{what}", **body)

    def post(self, path: str, **body: Any) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.profile.tpu_endpoint}/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def names(self) -> set[str]:
        """What is there and not being deleted."""
        zones = (ZONE, OTHER_ZONE)
        found = [each for zone in zones for each in self.platform.nodes.list_queued_resources(zone)]
        return {each.name for each in found if each.state != "DELETING"}

    def lease(self, name: str, zone: str = ZONE) -> LeaseState:
        found = lease_book.read(self.platform.store, zone, name)
        assert found is not None
        return found[0].state


@contextlib.contextmanager
def serving(profile: Profile, site: Site, target: str, **settings: str) -> Iterator[str]:
    """The url of one function, under the functions framework. It may be called as tests/functions/tokens.py says."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LAUNCHER_", "PYTHON"))},
        "CALLER": CALLER,
        "AUDIENCE": AUDIENCE,
        "GUNICORN_LOG_LEVEL": "info",  # tells the port
        "PROJECT": profile.project,
        "ZONES": f"{ZONE}, {OTHER_ZONE}",
        "BUCKET": profile.bucket,
        "CONTROL_BUCKET": profile.control_bucket,
        "PLATFORM": profile.platform,
        "TPU_ENDPOINT": profile.tpu_endpoint,
        "STORAGE_ENDPOINT": profile.storage_endpoint,
        "CREDENTIALS": "anonymous",
        **settings,
    }
    said = site.folder / "log"
    framework = site.python.with_name("functions-framework")
    command = [str(framework), "--source", "main.py", "--target", target, "--host", "127.0.0.1", "--port", "0"]
    with said.open("wb") as log:
        server = subprocess.Popen(command, cwd=site.folder, env=env, stdout=log, stderr=log)
        try:
            url: list[str] = []

            def listens() -> bool:
                url[:] = re.findall(r"Listening at: (http://\S+)", said.read_text())
                return bool(url) or server.poll() is not None

            assert wait_until(listens, 60.0) and url, said.read_text()
            yield url[0]
        finally:
            server.terminate()
            server.wait(30)


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of a call as the one who may call; `Authorization` in the headers says it is somebody else."""
    sent = {"Content-Type": "application/json", **bearer(), **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read())
