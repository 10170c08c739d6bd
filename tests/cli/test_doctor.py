"""`launcher doctor` and the faults that it sees, through the command line and a simulator of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

Env = dict[str, str]


@pytest.fixture
def sim(fresh_simulator: Env) -> Env:
    return {**fresh_simulator, "LAUNCHER_PROFILE": "simulator"}


def test_a_platform_where_all_is_well(run: Cli, sim: Env) -> None:
    ran = run("doctor", "--accelerator", "v5litepod-8", "--zone", "us-central1-a", env=sim)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    assert lines[0].startswith("ok       profile      simulator: platform sim, project simulated-project")


def test_all_problems_with_their_commands(run: Cli, sim: Env) -> None:
    inject = ("sim", "inject")
    run(*inject, "missing-permission", "--value", "tpu.nodes.create", env=sim)
    run(*inject, "missing-permission", "--value", "storage.objects.delete")
    run(*inject, "disabled-api", "--value", "tpu.googleapis.com")
    run(*inject, "quota", "--zone", "us-central1-a")
    ran = run("doctor", "--zone", "us-central1-a")
    assert ran.code == 1
    for words in (
        "problem  APIs         not enabled: tpu.googleapis.com\n",
        "  gcloud services enable tpu.googleapis.com --project simulated-project\n",
        "lacks tpu.nodes.create (project); storage.objects.delete (jobs bucket)\n",
        "  gcloud projects add-iam-policy-binding simulated-project --role=roles/tpu.admin --member=user:YOU\n",
        "gs://simulated-jobs --role=roles/storage.objectUser --member=user:YOU\n",
        "unknown  zones ",
        "problem  quota        too little of TPUs",
    ):
        assert words in ran.out, ran.out
    found = json.loads(run("doctor", "--json").out)
    assert {"name": "bucket", "verdict": "ok", "text": "gs://simulated-jobs answers", "fixes": []} in found
    assert [each["verdict"] for each in found if each["name"] == "permissions"] == ["problem"]


def test_a_refused_command_names_all_that_is_missing_and_each_fix_once(
    run: Cli, sim: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # while nothing is refused, nothing more is asked
        patch.setattr("launcher.fleet.access.find_missing", pytest.fail)
        assert run("nodes", env=sim).code == 0
    for value in ("tpu.nodes.list", "tpu.nodes.create", "storage.objects.get", "storage.objects.list"):
        run("sim", "inject", "missing-permission", "--value", value)
    for command in ("nodes list", "nodes up --accelerator v5e-1", "nodes down x", "reap", "costs", "unfreeze", "jobs"):
        ran = run(*command.split())
        assert ran.code == 1, command
        for words in ("tpu.nodes.create, tpu.nodes.list (project)", "storage.objects.list (jobs bucket)"):
            assert words in ran.err, ran.err
        commands = [line for line in ran.err.splitlines() if "gcloud " in line]
        assert all(line.startswith("  gcloud ") for line in commands), ran.err
        assert len(commands) == len(set(commands)) == 3, ran.err


def test_a_wrong_profile_is_the_one_problem(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path))
    ran = run("doctor", "--profile", "none-of-that-name")
    assert ran.code == 1
    assert ran.out.startswith("problem  profile      There is no profile 'none-of-that-name'.")


def test_a_wrong_accelerator_is_a_usage_error(run: Cli) -> None:
    ran = run("doctor", "--accelerator", "v9-8")
    assert (ran.code, ran.out) == (1, "") and "v9-8" in ran.err


def test_what_inject_and_status_say(run: Cli, sim: Env) -> None:
    said = run("sim", "inject", "forbidden", "--zone", "us-east5-a", env=sim).out
    assert said == "forbidden: from now on, until: launcher sim inject forbidden --off\n"
    run("sim", "inject", "slow-operation", "--value", "30", "--count", "2")
    status = run("sim", "status").out
    assert "standing: forbidden in us-east5-a\n" in status
    assert "armed: slow-operation 30, 2 more\n" in status
    assert run("sim", "inject", "forbidden", "--off").out == "forbidden: taken back\n"
    assert "forbidden" not in run("sim", "status").out
    wrong = run("sim", "inject", "zone-down", "--zone", "us-moon1-a")
    assert wrong.code == 1 and wrong.err.startswith("launcher: error: there is no zone 'us-moon1-a'; there are: ")
