from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError
from launcher.settings import OPTIONS, resolve


def project(tmp_path: Path, text: str) -> Path:
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n[tool.launcher]\n{text}\n")
    return tmp_path


def problems(values: dict[str, Any], root: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(values, root)
    return "\n".join(caught.value.problems)


class TestPrecedence:
    def test_defaults(self) -> None:
        settings = resolve({})
        assert settings.accelerator.name == "v5litepod-1"
        assert settings.runtime_version == settings.accelerator.default_runtime_version
        assert (settings.spot, settings.zones, settings.timeout_s, settings.cloud_only) == (False, (), None, ())

    @pytest.mark.parametrize(
        "decorator, environment, file, expected",
        [
            (None, None, None, None),
            (None, None, 3, 3.0),
            (None, "2", None, 2.0),
            (None, "2", 3, 2.0),
            (1, None, None, 1.0),
            (1, None, 3, 1.0),
            (1, "2", None, 1.0),
            (1, "2", 3, 1.0),
        ],
    )
    def test_decorator_then_environment_then_project_file(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        decorator: float | None,
        environment: str | None,
        file: float | None,
        expected: float | None,
    ) -> None:
        if environment is not None:
            monkeypatch.setenv("LAUNCHER_TIMEOUT_S", environment)
        root = project(tmp_path, f"timeout_s = {file}" if file is not None else "")
        assert resolve({"timeout_s": decorator}, root).timeout_s == expected

    def test_each_setting_by_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAUNCHER_ZONE", "us-west4-a")
        monkeypatch.setenv("LAUNCHER_SPOT", "yes")
        monkeypatch.setenv("LAUNCHER_PROFILE", "work")
        root = project(
            tmp_path,
            'accelerator = "v6e-8"\nspot = false\nmax_archive_bytes = 7\nenv = { A = "1" }\nlabels = { team = "x" }\n'
            'capture_env_vars = ["KAGGLE_*"]',
        )
        settings = resolve({"wait_timeout_s": 60, "name": "train"}, root)
        assert settings.accelerator.name == "v6e-8"
        assert (settings.spot, settings.zones) == (True, ("us-west4-a",))
        assert (settings.profile, settings.name, settings.wait_timeout_s) == ("work", "train", 60.0)
        assert (settings.max_archive_bytes, settings.env, settings.labels) == (7, {"A": "1"}, {"team": "x"})
        assert settings.capture_env_vars == ("KAGGLE_*",)
        assert settings.cloud_only == ("spot", "zone")

    def test_an_empty_variable_is_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAUNCHER_TIMEOUT_S", "")
        assert resolve({}).timeout_s is None

    def test_a_zone_alone_or_in_a_list(self) -> None:
        assert resolve({"zone": "us-west4-a"}).zones == ("us-west4-a",)
        assert resolve({"zone": ["us-west4-a"]}).zones == ("us-west4-a",)

    def test_aliases_of_accelerators(self) -> None:
        assert resolve({"accelerator": "v5e-8"}).accelerator.name == "v5litepod-8"

    def test_dependencies_may_be_none_at_all(self) -> None:
        assert resolve({}).dependencies is None
        assert resolve({"dependencies": []}).dependencies == ()

    def test_a_project_without_the_table(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        assert resolve({}, tmp_path) == resolve({}, tmp_path / "nowhere") == resolve({})


class TestNodes:
    def test_which_nodes_and_for_how_long(self) -> None:
        settings = resolve(
            {"zone": ["us-central1-a", "us-east5-a", "us-central1-a"], "spot": True, "spot_fallback": True}
        )
        assert settings.zones == ("us-central1-a", "us-east5-a") and settings.spot_fallback
        assert settings.cloud_only == ("spot", "zone")
        assert resolve({}).keep_warm_s is None and resolve({"keep_warm_s": 0}).keep_warm_s == 0.0

    def test_a_node_by_name_with_where_to_look(self) -> None:
        settings = resolve({"node": "mine", "zone": "us-central1-a,us-east5-a", "spot": False, "keep_warm_s": 60})
        assert settings.node == "mine" and len(settings.zones) == 2
        assert settings.cloud_only == ("zone", "node")

    def test_a_reservation(self) -> None:
        settings = resolve({"reservation": "r"})
        assert settings.reservation == "r" and settings.cloud_only == ("reservation",)


class TestProblems:
    def test_all_of_them_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAUNCHER_SPOT", "maybe")
        monkeypatch.setenv("LAUNCHER_WAIT_TIMEOUT_S", "soon")
        root = project(tmp_path, 'bucket = "evil"\nacelerator = "v6e-8"\ntimeout_s = -1\n')
        text = problems({"accelerator": "v5litepod-7", "retries": 3, "timeoutt_s": 5}, root)
        for words in (
            "@launcher.run: accelerator",
            "v5litepod-8",
            "LAUNCHER_SPOT = 'maybe': spot must be true or false",
            "LAUNCHER_WAIT_TIMEOUT_S = 'soon': wait_timeout_s must be a number",
            f"{root / 'pyproject.toml'} [tool.launcher] bucket: a project file may not say",
            "[tool.launcher] acelerator: no such setting. Did you mean 'accelerator'?",
            "[tool.launcher] timeout_s = -1: timeout_s must be more than 0 seconds",
            "retries comes with a later version",
            "unknown option 'timeoutt_s'. Did you mean 'timeout_s'?",
        ):
            assert words in text, words

    @pytest.mark.parametrize(
        "key",
        [
            *("profile", "project", "bucket", "control_bucket", "tpu_endpoint", "storage_endpoint", "connect"),
            *("proxy_command", "credentials", "ssh_port", "owner", "service_account", "network", "shared_pool"),
            "external_ip",
        ],
    )
    def test_a_project_never_says_where_things_go(self, tmp_path: Path, key: str) -> None:
        text = problems({}, project(tmp_path, f'{key} = "x"'))
        assert f"pyproject.toml [tool.launcher] {key}: a project file may not say" in text

    @pytest.mark.parametrize("key", ["name", "project_root"])
    def test_what_only_the_decorator_says(self, tmp_path: Path, key: str) -> None:
        assert f"@launcher.run({key}=...)" in problems({}, project(tmp_path, f'{key} = "x"'))

    def test_a_project_file_that_is_broken(self, tmp_path: Path) -> None:
        assert "pyproject.toml: not valid TOML" in problems({}, project(tmp_path, "x ="))

    def test_a_project_file_whose_table_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[tool]\nlauncher = 3\n")
        assert "[tool.launcher] must be a table" in problems({}, tmp_path)

    @pytest.mark.parametrize(
        "values",
        [
            {"retries": 1},
            {"preemption_retries": 5},
            {"num_slices": 2},
        ],
    )
    def test_what_comes_later(self, values: dict[str, Any]) -> None:
        assert f"{next(iter(values))} comes with a later version" in problems(values)

    def test_what_asks_for_nothing_of_it(self) -> None:
        resolve({"retries": 0, "preemption_retries": 3, "num_slices": 1})

    @pytest.mark.parametrize(
        "values, words",
        [
            ({"spot_fallback": True}, "spot_fallback without spot"),
            ({"spot_fallback": True, "spot": False}, "Add spot=True"),
            ({"spot": True, "reservation": "r"}, "reserved capacity is no spot capacity"),
            ({"node": "n", "spot": True}, "spot with node = 'n': that node is there already"),
            ({"node": "n", "spot": True, "spot_fallback": True}, "spot_fallback with node = 'n'"),
            ({"node": "n", "reservation": "r"}, "reservation with node = 'n'"),
            ({"keep_warm_s": -1}, "0 or more"),
        ],
    )
    def test_what_does_not_go_together(self, values: dict[str, Any], words: str) -> None:
        assert words in problems(values)

    def test_several_hosts_come_later(self) -> None:
        assert "4 hosts; more than one comes with a later version" in problems({"accelerator": "v5litepod-16"})

    def test_a_bad_accelerator_of_the_environment_is_named_by_its_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAUNCHER_ACCELERATOR", "v9-1")
        assert "LAUNCHER_ACCELERATOR" in problems({})

    @pytest.mark.parametrize(
        "values, words",
        [
            ({"timeout_s": 0}, "more than 0 seconds"),
            ({"timeout_s": float("nan")}, "finite"),
            ({"timeout_s": float("inf")}, "finite"),
            ({"timeout_s": True}, "must be a number"),
            ({"wait_timeout_s": []}, "must be a number"),
            ({"spot": "yes please"}, "true or false"),
            ({"spot": 1}, "true or false"),
            ({"zone": "nowhere"}, "no zone's name"),
            ({"zone": []}, "at least one zone"),
            ({"zone": {"a": 1}}, "list of strings"),
            ({"env": {"A B": "x"}}, "no environment variable's name"),
            ({"env": {"A": 1}}, "not a string"),
            ({"env": ["A"]}, "table"),
            ({"labels": {"Team": "x"}}, "labels are"),
            ({"labels": {"launcher-owner": "x"}}, "the launcher's own"),
            ({"capture_env_vars": 3}, "list of strings"),
            ({"dependencies": [1]}, "must be a string"),
            ({"num_slices": 1.5}, "whole number"),
            ({"accelerator": 8}, "must be a string"),
            ({"name": ""}, "must be a string"),
            ({"project_root": 3}, "folder's path"),
            ({"timeout_s": 100, "max_lifetime_s": 50}, "is longer than max_lifetime_s"),
        ],
    )
    def test_wrong_values(self, values: dict[str, Any], words: str) -> None:
        assert words in problems(values)

    def test_values_for_the_jobs_environment_are_not_shown(self) -> None:
        assert "hunter2" not in problems({"env": {"A": "hunter2", "B C": "x"}})

    def test_a_slip_in_a_variables_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAUNCHER_ACCELERATR", "v6e-8")
        monkeypatch.setenv("LAUNCHER_OF_ROCKETS", "1")
        assert problems({}) == "LAUNCHER_ACCELERATR: no such setting. Did you mean LAUNCHER_ACCELERATOR?"


def test_options_are_those_of_the_decorator() -> None:
    assert set(OPTIONS) == {
        *("accelerator", "spot", "spot_fallback", "reservation", "zone", "node", "num_slices", "runtime_version"),
        "dependencies",
        *("env", "capture_env_vars", "timeout_s", "retries", "preemption_retries", "keep_warm_s"),
        *("max_lifetime_s", "wait_timeout_s", "project_root", "name", "labels", "profile", "pool"),
    }


def test_importing_it_is_light() -> None:
    # The name `google` alone is there already where a distribution of its namespace is installed the old way.
    heavy = "{'google.auth', 'google.api_core', 'paramiko', 'requests', 'tomllib', 'asyncio', 'rich', 'cryptography'}"
    script = f"import launcher.settings, launcher.config, sys; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
