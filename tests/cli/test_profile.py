"""profile list, show, use, add, set, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

MINE = ("project=my-project-123", "zones=us-central1-a,us-east5-a", "bucket=my-jobs")


@pytest.fixture(autouse=True)
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def test_a_new_profile_is_saved_shown_and_the_first_becomes_the_default(run: Cli, config_dir: Path) -> None:
    added = run("profile", "add", "mine", *MINE, "ssh_port=2222", "owner=ada")
    assert (added.code, added.out) == (0, f"saved {config_dir / 'profiles' / 'mine.toml'}\n")
    shown = json.loads(run("profile", "show", "--json").out)
    assert shown["name"] == shown["platform"] == "mine"
    assert (shown["zones"], shown["ssh_port"], shown["owner"]) == (["us-central1-a", "us-east5-a"], 2222, "ada")
    assert "zones = us-central1-a,us-east5-a\n" in run("profile", "show", "mine").out
    assert json.loads(run("profile", "list", "--json").out) == [
        {
            "name": "mine",
            "default": True,
            "project": "my-project-123",
            "zones": ["us-central1-a", "us-east5-a"],
            "bucket": "my-jobs",
        },
        {"name": "simulator", "default": False, "project": "on this machine", "zones": [], "bucket": ""},
    ]


def test_set_changes_the_keys_that_are_given_and_an_empty_value_puts_the_default_back(run: Cli) -> None:
    run("profile", "add", "mine", *MINE, "connect=external")
    assert run("profile", "set", "mine", "bucket=other-jobs", "connect=").code == 0
    shown = json.loads(run("profile", "show", "mine", "--json").out)
    assert (shown["bucket"], shown["connect"], shown["project"]) == ("other-jobs", "iap", "my-project-123")


def test_every_wrong_key_is_told_at_once_with_the_nearest_right_one(run: Cli) -> None:
    run("profile", "add", "mine", *MINE)
    ran = run("profile", "set", "mine", "buckt=x", "zones", "simulated=true")
    assert (ran.code, ran.out) == (1, "")
    first, second, third = ran.err.splitlines()
    assert first == "launcher: error: No profile has a key 'buckt'. Did you mean 'bucket'?"
    assert second == "launcher: error: 'zones' is not KEY=VALUE."
    assert third.startswith("launcher: error: No profile has a key 'simulated'.")


def test_a_wrong_value_changes_nothing(run: Cli) -> None:
    run("profile", "add", "mine", *MINE)
    ran = run("profile", "set", "mine", "ssh_port=many")
    assert ran.code == 1 and "ssh_port = 'many'" in ran.err
    assert json.loads(run("profile", "show", "mine", "--json").out)["ssh_port"] == 22


def test_a_new_profile_needs_project_zones_and_bucket(run: Cli) -> None:
    ran = run("profile", "add", "mine", "project=my-project-123")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "launcher: error: profile mine: zones is missing. Add: zones=…",
        "launcher: error: profile mine: bucket is missing. Add: bucket=…",
    ]


def test_add_does_not_replace_and_set_does_not_create(run: Cli) -> None:
    run("profile", "add", "mine", *MINE)
    assert run("profile", "add", "mine", *MINE, "bucket=other").code == 1
    assert json.loads(run("profile", "show", "mine", "--json").out)["bucket"] == "my-jobs"
    unknown = run("profile", "set", "mien", "bucket=other")
    assert unknown.code == 1 and "Did you mean 'mine'?" in unknown.err


def test_use_and_delete(run: Cli) -> None:
    run("profile", "add", "mine", *MINE)
    run("profile", "add", "other", *MINE)
    assert run("profile", "use", "other").out == "default profile: other\n"
    assert json.loads(run("profile", "show", "--json").out)["name"] == "other"
    assert run("profile", "delete", "other").code == 0
    nothing_chosen = run("profile", "show")
    assert nothing_chosen.code == 1 and "launcher profile use NAME" in nothing_chosen.err
    assert run("profile", "use", "other").code == 1


def test_the_simulator_is_no_file(run: Cli) -> None:
    assert run("profile", "use", "simulator").code == 0
    assert json.loads(run("profile", "list", "--json").out)[-1]["default"] is True
    assert "launcher sim status" in run("profile", "show").err
    assert "built in" in run("profile", "set", "simulator", "bucket=mine-now").err
