"""The deployed archive, as Google runs it: unzipped into a folder of its own, under the functions framework."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.seams import NodeSpec
from launcher.config import Profile, load_profile
from launcher.fleet import freeze, lease_book
from launcher.fleet.platform import Platform
from launcher.functions import archive, main
from launcher.functions.archive import function_archive
from launcher.records.leases import LeaseState, reserve
from tests.e2e.leftovers import wait_until

ZONE, OTHER_ZONE = "us-central1-a", "us-west4-a"
OURS = {"launcher-platform": "sim", "launcher-owner": "ada"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The archive, unzipped."""
    with zipfile.ZipFile(io.BytesIO(function_archive())) as opened:
        opened.extractall(tmp_path / "site")
    return tmp_path / "site"


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
        request = urllib.request.Request(f"{self.profile.tpu_endpoint}/_sim/{what}", json.dumps(body).encode())
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


@pytest.fixture
def world(fresh_simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in fresh_simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    return World(load_profile())


@contextlib.contextmanager
def serving(world: World, site: Path, target: str, **settings: str) -> Iterator[str]:
    """The url of one function, under the functions framework in the folder of its archive."""
    profile = world.profile
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LAUNCHER_")},
        "PYTHONPATH": str(site),  # before the checkout, which is installed here too
        "PYTHONDONTWRITEBYTECODE": "1",
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
    framework = Path(sys.executable).with_name("functions-framework")
    said = site / "log"
    command = [str(framework), "--source", "main.py", "--target", target, "--host", "127.0.0.1", "--port", "0"]
    with said.open("wb") as log:
        server = subprocess.Popen(command, cwd=site, env=env, stdout=log, stderr=log)
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
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read())


def log(site: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (site / "log").read_text().splitlines() if line.startswith("{")]


def launcher(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launcher.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_function_deletes_exactly_what_a_dry_run_announced(world: World, site: Path) -> None:
    world.add("sim-idle", state=LeaseState.WARM, keep_warm_s=900.0)
    world.add("sim-warm", state=LeaseState.WARM, keep_warm_s=7200.0)
    world.add("sim-held", state=LeaseState.HELD, ttl_s=7200.0)
    world.add("sim-late", OTHER_ZONE, LeaseState.HELD)
    world.add("sim-unleased")
    world.add("other")
    world.ready()
    world.ask("advance", seconds=1000)
    before = world.names()
    ran = launcher("reap", "--dry-run", "--json")
    assert ran.returncode == 0, ran.stderr
    announced = json.loads(ran.stdout)
    assert world.names() == before
    assert {each["resource"] for each in announced["decisions"]} == {"sim-idle", "sim-late", "sim-unleased"}
    with serving(world, site, "idle_shutdown", DRY_RUN="true") as url:
        assert post(url, {}) == (200, announced)
    with serving(world, site, "idle_shutdown") as url:
        # As Cloud Scheduler asks.
        status, answer = post(url, {}, **{"User-Agent": "Google-Cloud-Scheduler", "X-CloudScheduler": "true"})
        assert (status, answer) == (200, {**announced, "dry_run": False})
        assert world.names() == before - {"sim-idle", "sim-late", "sim-unleased"}
        assert [each["resource"] for each in log(site) if each["severity"] == "NOTICE"]
        world.ask("inject", name="forbidden", zone=OTHER_ZONE)
        status, answer = post(url, {})
        assert status == 500 and len(answer["errors"]) == 1 and OTHER_ZONE in answer["errors"][0]
        assert [each["message"] for each in log(site) if each["severity"] == "ERROR"] == answer["errors"]
        reaped = launcher("reap", "--json")
        assert (reaped.returncode, len(json.loads(reaped.stdout)["errors"])) == (1, 1)


def pushed(message_id: str, cost: float, published: str) -> dict[str, Any]:
    budget = {
        "budgetDisplayName": "TPUs",
        "alertThresholdExceeded": 1.0,
        "costAmount": cost,
        "costIntervalStart": "2026-01-01T08:00:00Z",
        "budgetAmount": 100.0,
        "budgetAmountType": "SPECIFIED_AMOUNT",
        "currencyCode": "USD",
    }
    data = base64.b64encode(json.dumps(budget).encode()).decode()
    message = {"data": data, "messageId": message_id, "publishTime": published, "attributes": {"budgetId": "b"}}
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def test_the_guard_freezes_the_fleet_until_somebody_lifts_it(world: World, site: Path) -> None:
    world.add("sim-warm", state=LeaseState.WARM)
    world.add("sim-held", state=LeaseState.HELD)
    world.ready()
    with serving(world, site, "budget_guard", GUARD_DRAIN_BUSY="true") as url:
        status, answer = post(url, {"message": {"data": "?"}})
        assert (status, answer["frozen"]) == (200, False)
        assert [each["severity"] for each in log(site)] == ["ERROR"]
        status, answer = post(url, pushed("1", 99.0, "2026-01-10T10:00:00Z"))
        assert (status, answer["frozen"], freeze.read(world.platform)) == (200, False, None)
        status, answer = post(url, pushed("2", 101.0, "2026-01-10T11:00:00Z"))
        assert (status, answer["frozen"]) == (200, True)
        assert [each["resource"] for each in answer["decisions"]] == ["sim-warm"]
        assert (world.names(), world.lease("sim-held")) == ({"sim-held"}, LeaseState.HELD)
        status, answer = post(url, pushed("3", 102.0, "2026-01-10T12:00:00Z"))
        assert (status, world.lease("sim-held")) == (200, LeaseState.DRAINING)
        assert world.names() == {"sim-held"}
        assert freeze.read(world.platform) is not None
        lifted = launcher("unfreeze", "--json")
        assert lifted.returncode == 0, lifted.stderr
        assert json.loads(lifted.stdout)["reason"] == "budget 'TPUs' is used up (101.00 of 100.00 USD)"
        status, answer = post(url, pushed("4", 103.0, "2026-01-10T13:00:00Z"))
        assert (status, answer["frozen"], freeze.read(world.platform)) == (200, False, None)


def test_all_that_is_wrong_in_its_environment_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"ZONES": "", "BUCKET": "", "DRY_RUN": "maybe", "GUARD_DRAIN_BUSY": "x", "MAX_LIFETIME_S": "1d"}
    for name, value in {"PROJECT": "p", "PLATFORM": "p", **wrong}.items():
        monkeypatch.setenv(name, value)
    text, status, _ = main.idle_shutdown(None)
    (problem,) = json.loads(text)["errors"]
    assert status == 500
    assert [name for name in wrong if name not in problem] == []
    assert json.loads(capsys.readouterr().out) == {"severity": "ERROR", "message": problem}


# --- the archive --------------------------------------------------------------------------------------------


def test_the_archive_is_always_the_same(tmp_path: Path) -> None:
    """Also from a copy of the sources with other times and modes."""
    for path in archive._PACKAGE.rglob("*.*"):
        if path.suffix in (".py", ".txt") and path.is_file():
            copy = tmp_path / "elsewhere" / "launcher" / path.relative_to(archive._PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o600)
            os.utime(copy, (1e9, 1e9))
    out = tmp_path / "new folder" / "out.zip"
    command = [sys.executable, "-m", "launcher.functions.archive", str(out)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    subprocess.run(command, cwd=tmp_path / "elsewhere", env=env, check=True)
    assert out.read_bytes() == function_archive()
    with zipfile.ZipFile(out) as opened:
        entries = opened.infolist()
    assert [each.filename for each in entries] == sorted(each.filename for each in entries)
    assert {(each.date_time, each.external_attr >> 16) for each in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_the_archive_command_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "launcher.functions.archive"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"usage: python -m launcher.functions.archive OUT.zip\n")


def test_it_holds_what_it_needs_and_no_more(site: Path) -> None:
    """Every module in it can be imported, and all of ours that main.py loads come from it."""
    names = sorted(
        path.relative_to(site).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in site.rglob("*.py")
    )
    script = (
        "import importlib, json, sys\n"
        "loaded = [importlib.import_module(name).__file__ for name in json.loads(sys.argv[1])]\n"
        "print(json.dumps([loaded, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    command = [sys.executable, "-c", script, json.dumps(names)]
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=site, env=env, capture_output=True, text=True, check=True)
    loaded, packages = json.loads(done.stdout)
    assert all(file.startswith(f"{site}/") for file in loaded)
    assert not {"click", "paramiko", "rich", "cloudpickle", "uvicorn"} & set(packages)
    parts = {name.split(".")[1] for name in names if name.count(".")}
    assert parts == {"records", "fleet", "cloud", "config", "errors", "private_files", "setting_types"}


def test_its_requirements_are_pinned_with_hashes_to_the_versions_that_were_tested() -> None:
    root = Path(archive.__file__).parents[2]
    pin = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)
    needed = (root / "launcher/functions/requirements.txt").read_text()
    tested = dict(pin.findall((root / "requirements/dev.txt").read_text()))
    pins = pin.findall(needed)
    assert {"functions-framework", "google-cloud-storage", "google-cloud-tpu"} <= {name for name, _ in pins}
    assert [(name, tested.get(name)) for name, _ in pins] == pins
    assert len(re.split(r"\n(?=[a-z0-9])", needed)) == len(pins) and needed.count("--hash=sha256:") >= len(pins)
