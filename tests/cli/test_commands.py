"""What holds for every command: help, --json, errors; and the commands that need no cloud."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from launcher import cli
from launcher.cli.app import root
from tests.cli.conftest import Cli


def leaves(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


LEAVES = dict(leaves())


def test_the_commands_of_this_version_are_there() -> None:
    assert {path[0] for path in LEAVES} == {
        *("accelerators", "attach", "cancel", "costs", "doctor", "estimate", "files", "jobs", "logs", "nodes"),
        *("init", "profile", "reap", "result", "sim", "unfreeze"),
    }
    assert {path[1] for path in LEAVES if path[0] == "sim"} == {"start", "stop", "status", "env", "inject", "advance"}
    assert {path[1] for path in LEAVES if path[0] == "nodes"} == {"list", "up", "down"}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_json_and_help(path: tuple[str, ...], run: Cli) -> None:
    assert "--json" in [option for each in LEAVES[path].params for option in each.opts]
    for flag in ("--help", "-h"):
        ran = run(*path, flag)
        assert ran.code == 0 and ran.out.startswith(f"Usage: launcher {' '.join(path)} ")


def test_the_list_of_commands_says_each_in_a_whole_sentence(run: Cli) -> None:
    assert "..." not in run("--help").out.split("Commands:")[1]


def test_help_loads_neither_google_nor_rich_nor_the_cloud_seams() -> None:
    script = (
        "import sys; from launcher.cli import main; codes = [main(c.split()) for c in "
        f"{[' '.join([*path, '--help']) for path in LEAVES] + ['--help', '--version']!r}]; "
        "heavy = {'google.auth', 'paramiko', 'rich', 'requests', 'cloudpickle', 'asyncssh', 'launcher.cloud'}; "
        "print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == f"{[0] * (len(LEAVES) + 2)} []\n"


def test_version(run: Cli) -> None:
    assert run("--version").out == f"launcher {importlib.metadata.version('tpu-launcher')}\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["job"], "No such command 'job'. Did you mean 'jobs'? See: launcher --help"),
        (["nodes", "dwn"], "No such command 'dwn'. Did you mean 'down'? See: launcher nodes --help"),
        (["jobs", "--limt", "3"], "No such option '--limt'. Did you mean '--limit'? See: launcher jobs --help"),
        (["logs"], "Missing argument 'JOB'. See: launcher logs --help"),
        (
            ["jobs", "--limit", "0"],
            "Invalid value for '--limit': 0 is not in the range x>=1. See: launcher jobs --help",
        ),
        (["reap", "now"], "Got unexpected extra argument (now). See: launcher reap --help"),
        *(
            (
                [command, "--zone", "nowhere"],
                f"Invalid value for '--zone': 'nowhere' is no zone's name such as 'us-central1-a'. "
                f"See: launcher {command} --help",
            )
            for command in ("reap", "doctor")
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_nearest_right_one(run: Cli, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", f"launcher: error: {said}\n")


def test_no_command_at_all_shows_the_help_and_fails(run: Cli) -> None:
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: launcher [OPTIONS] COMMAND")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.cli.accelerators.all_accelerators", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["accelerators"])


def test_a_profile_that_does_not_exist_names_the_nearest(run: Cli) -> None:
    ran = run("jobs", "--profile", "simulater")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("launcher: error: There is no profile 'simulater'. Did you mean 'simulator'?")


def test_without_a_profile_and_a_terminal_nothing_is_started(run: Cli, tmp_path: Path) -> None:
    ran = run("jobs", env={"LAUNCHER_CONFIG_DIR": str(tmp_path / "config"), "LAUNCHER_SIM_DIR": str(tmp_path / "sim")})
    assert ran.code == 1
    assert ran.err.startswith("launcher: error: No profile says where to run") and ran.err.count("\n") == 1
    assert not (tmp_path / "sim").exists()


# --- accelerators -------------------------------------------------------------------------------------------


def test_accelerators_lists_chips_hosts_image_and_price_with_its_date(run: Cli) -> None:
    header, *rows = run("accelerators", "--generation", "v5e", "--zone", "us-east5-a").out.splitlines()
    assert header.split()[:3] == ["NAME", "CHIPS", "HOSTS"]
    assert rows[3].split() == [
        *("v5litepod-16", "16", "4", "256", "GiB", "v2-alpha-tpuv5-lite", "$19.20/h", "$9.60/h", "us-east5", "2026-10")
    ]


def test_accelerators_as_json_are_all_with_prices_where_they_are_cheapest(run: Cli) -> None:
    found = {each["name"]: each for each in json.loads(run("accelerators", "--json").out)}
    assert {"v2-8", "v3-8", "v4-8", "v5litepod-8", "v5p-8", "v6e-8"} <= found.keys()
    on_demand, spot = found["v6e-8"]["list_prices"]
    assert (on_demand["usd_per_hour"], on_demand["spot"], spot["usd_per_hour"]) == (21.6, False, 4.35)
    assert on_demand["region"] == spot["region"] == "us-central1" and on_demand["as_of"] == "2026-10"


@pytest.mark.parametrize("option, known", [("--generation", "v5litepod"), ("--zone", "mars-north1")])
def test_accelerators_of_an_unknown_kind_or_place_lists_what_there_is(run: Cli, option: str, known: str) -> None:
    ran = run("accelerators", option, known)
    assert (ran.code, ran.out) == (1, "")
    assert known in ran.err and ("v5e" in ran.err or "us-central1" in ran.err)


# --- files --------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "requirements.txt").write_text("")
    (root / "train.py").write_text("print()\n")
    (root / "data" / "pairs.jsonl").write_bytes(b"x" * 1500)
    (root / ".env").write_text("TOKEN=secret\n")
    (root / "link").symlink_to("train.py")
    return root


def test_files_shows_what_is_sent_how_large_it_is_and_why_the_rest_is_not(
    run: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    lines = run("files").out.splitlines()
    assert "1.5 kB  data/pairs.jsonl" in lines
    assert any(line.split() == ["link", "link", "->", "train.py"] for line in lines)
    assert any(line.startswith("credential-shaped  .env") for line in lines)
    assert lines[-1] == f"3 files, 1.5 kB from {project}"
    document = json.loads(run("files", "data", "--json").out)
    assert document["root"] == str(project)
    assert {each["path"]: each["size"] for each in document["entries"]}["data/pairs.jsonl"] == 1500
    assert ".env" in [each["path"] for each in document["left_out"]]
    assert document["total_bytes"] == 1508


def test_files_of_a_path_that_is_not_there(run: Cli, tmp_path: Path) -> None:
    ran = run("files", str(tmp_path / "nowhere"))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"launcher: error: no such file or folder: {tmp_path / 'nowhere'}\n"
