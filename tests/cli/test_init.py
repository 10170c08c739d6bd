"""launcher init: joining a platform, and every way in which that is refused."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher import config
from launcher.cloud.storage import GcsBucket
from launcher.errors import PermissionDenied
from launcher.records.paths import new_token
from tests.cli.conftest import Cli

Put = Callable[..., str]


@pytest.fixture(autouse=True)
def config_dir(simulator: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def put() -> Put:
    """Makes a control bucket with this file in it (None: without one); the bucket's name. `bucket`: there already."""
    root = config.load_profile().storage_endpoint

    def send(path: str, data: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(root + path, data, headers, method="POST")).close()

    def put(document: Any = (), *, bucket: str = "", **parts: Any) -> str:
        name = bucket or f"t-{new_token()}-control"
        if not bucket:
            send("/storage/v1/b?project=simulated-project", json.dumps({"name": name}).encode())
        base = {"schema": 1, "platform": "tpu", "project": "my-project", "zones": ["us-central1-a"], "bucket": "t-jobs"}
        if document == ():
            document = json.dumps({**base, "control_bucket": name, **parts}).encode()
        if document is not None:
            send(f"/upload/storage/v1/b/{name}/o?uploadType=media&name=platform.json", document)
        return name

    return put


def shown(run: Cli, name: str = "tpu") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("profile", "show", name, "--json").out)
    return found


def test_the_file_becomes_a_profile_and_the_first_one_the_default(run: Cli, put: Put) -> None:
    bucket = put(
        idle_shutdown={"drain_s": 60, "grace_s": 120, "keep_warm_s": 30, "max_lifetime_s": 7200},
        external_ip=False,
        network="net",
        subnetwork="sub",
        service_account="worker@x",
        pools={"b": {"accelerator": "v5litepod-8", "zones": ["us-central1-a"], "max_nodes": 2}},
    )
    joined = run("init", "--bucket", bucket)
    assert joined.code == 0, joined.err
    first, second, last = joined.out.splitlines()
    assert first == "joined SIMULATED platform tpu in project my-project: profile tpu"
    assert second == "zones: us-central1-a; pools: b (v5litepod-8, 2 nodes at most)"
    assert last == "next: LAUNCHER_PROFILE=tpu launcher doctor"
    profile = shown(run)
    assert (profile["grace_s"], profile["drain_s"], profile["keep_warm_s"], profile["max_lifetime_s"]) == (
        *(120.0, 60.0, 30.0, 7200.0),
    )
    assert (profile["external_ip"], profile["network"], profile["subnetwork"]) == (False, "net", "sub")
    assert (profile["service_account"], profile["control_bucket"]) == ("worker@x", bucket)
    assert config.default_profile() == "tpu" and config.read_profile("tpu").simulated


def test_joining_again_keeps_what_the_user_set_and_its_name(run: Cli, put: Put) -> None:
    bucket = put()
    assert json.loads(run("init", "--bucket", bucket, "--profile", "mine", "--json").out)["profile"] == "mine"
    run("profile", "set", "mine", "owner=eva", "shared_pool=true", "timer_margin_s=900", "keep_warm_s=5")
    put(bucket=bucket, zones=["us-east5-a"])
    again = json.loads(run("init", "--bucket", f"gs://{bucket}", "--json").out)
    assert (again["profile"], again["zones"], again["default"], again["simulated"]) == (
        *("mine", ["us-east5-a"], True, True),
    )
    profile = shown(run, "mine")
    assert (profile["owner"], profile["shared_pool"], profile["timer_margin_s"]) == ("eva", True, 900.0)
    assert (profile["zones"], profile["keep_warm_s"]) == (["us-east5-a"], 900.0)


def test_a_name_that_another_platform_has_is_kept_for_it(run: Cli, put: Put) -> None:
    first, second = put(), put()
    run("init", "--bucket", first)
    refused = run("init", "--bucket", second)
    assert refused.code == 1 and f"'tpu' is there already, for bucket {first}" in refused.err
    assert run("init", "--bucket", second, "--profile", "other").code == 0
    assert (shown(run)["control_bucket"], shown(run, "other")["control_bucket"]) == (first, second)


def test_a_team_is_chosen_once(run: Cli, put: Put) -> None:
    bucket = put(service_account=None, service_accounts={"red": "red@x", "blue": "blue@x"})
    assert "has teams: blue, red. Say yours: --team NAME" in run("init", "--bucket", bucket).err
    assert "Did you mean 'red'?" in run("init", "--bucket", bucket, "--team", "rad").err
    assert ", team red: profile tpu" in run("init", "--bucket", bucket, "--team", "red").out
    assert json.loads(run("init", "--bucket", bucket, "--json").out)["team"] == "red"
    assert shown(run)["service_account"] == "red@x"
    assert "has no teams. Leave it out" in run("init", "--bucket", put(), "--team", "red", "--profile", "x").err


@pytest.mark.parametrize(
    "document, words",
    [
        (None, "Is this the control bucket? Its name ends in -control"),
        (b"{", "is damaged: not JSON"),
        (b'{"schema": 1}', "platform is missing; project is missing"),
        (b'{"schema": 2, "platform": 3}', "schema 2 is newer than this launcher knows (1)"),
    ],
)
def test_a_bucket_without_a_sound_file(run: Cli, put: Put, document: bytes | None, words: str) -> None:
    bucket = put(document)
    refused = run("init", "--bucket", bucket)
    assert refused.code == 1 and f"gs://{bucket}/platform.json" in refused.err and words in refused.err
    assert config.list_profiles() == ()


def test_a_file_for_a_newer_launcher_and_one_that_was_copied(run: Cli, put: Put) -> None:
    assert (
        "is for a newer launcher (schema 2, this one knows 1): upgrade it" in run("init", "--bucket", put(schema=2)).err
    )
    refused = run("init", "--bucket", put(control_bucket="the-control"))
    assert "launcher init --bucket the-control" in refused.err


def test_a_bucket_that_is_not_there_or_not_for_the_caller(run: Cli, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("init", "--bucket", "no-such-control")
    assert refused.code == 1 and "There is no bucket no-such-control. Its name ends in -control" in refused.err
    bucket = put()

    def denied(self: GcsBucket, name: str) -> None:
        raise PermissionDenied(f"reading {name}: 403")

    monkeypatch.setattr(GcsBucket, "read", denied)
    refused = run("init", "--bucket", bucket)
    assert refused.code == 1 and "403" in refused.err and "add you to launcher_users in Terraform" in refused.err


def test_an_emulator_that_is_not_the_users_simulator(run: Cli, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    refused = run("init", "--bucket", put())
    assert refused.code == 1 and 'eval "$(launcher sim env)"' in refused.err


def test_what_is_said_next_where_another_profile_is_the_default(
    run: Cli, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = put(), put()
    root = config.load_profile().storage_endpoint
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", root)
    monkeypatch.delenv("LAUNCHER_PROFILE")
    assert run("init", "--bucket", first).out.endswith("next: launcher doctor\n")
    other = run("init", "--bucket", second, "--profile", "other")
    assert other.out.endswith("next: launcher profile use other && launcher doctor\n")


def test_a_folder_where_nothing_was_applied_is_no_platform(run: Cli, tmp_path: Path) -> None:
    refused = run("init", "--terraform", str(tmp_path))
    assert refused.code == 1 and f"{tmp_path}: terraform has no output 'launcher' there" in refused.err
    assert 'It said:\nError: Output "launcher" not found' in refused.err and "terraform apply" in refused.err
    refused = run("init", "--terraform", str(tmp_path / "slip"))
    assert refused.code == 1 and f"{tmp_path / 'slip'} is no folder" in refused.err


def test_a_state_that_cannot_be_read_is_said(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "terraform.tfstate").write_text("")
    refused = run("init", "--terraform", str(tmp_path))
    assert refused.code == 1 and f"error: {tmp_path}: " in refused.err and "Traceback" not in refused.err


@pytest.mark.parametrize("value", ['"tpu"', '{"zones": []}'])
def test_an_output_of_something_else_is_no_platform(run: Cli, tmp_path: Path, value: str) -> None:
    kind = ["object", {"zones": ["tuple", []]}] if value.startswith("{") else "string"
    state = {"version": 4, "terraform_version": "1.9.0", "serial": 1, "lineage": "x", "resources": []}
    state["outputs"] = {"launcher": {"value": json.loads(value), "type": kind}}
    (tmp_path / "terraform.tfstate").write_text(json.dumps(state))
    refused = run("init", "--terraform", str(tmp_path))
    assert refused.code == 1 and f"error: {tmp_path}: " in refused.err and "output" in refused.err


def test_without_terraform_the_buckets_name_is_asked_for(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run("init", "--terraform", str(tmp_path))
    assert refused.code == 1 and "terraform is not on PATH" in refused.err and "--bucket NAME" in refused.err


@pytest.mark.parametrize("options", [(), ("--bucket", "b", "--terraform", ".")])
def test_one_platform_is_asked_for(run: Cli, options: tuple[str, ...]) -> None:
    refused = run("init", *options)
    assert refused.code == 2 and "--bucket NAME, or --terraform FOLDER" in refused.err
