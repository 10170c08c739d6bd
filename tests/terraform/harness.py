"""Terraform as the tests run it: the real program, the stand-in provider, nothing left behind in the checkout."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
MISSING = "terraform is not on PATH: install Terraform 1.11 or newer, https://developer.hashicorp.com/terraform/install"
_TIMEOUT_S = 300.0
# What a run leaves in a folder, and what no run reads.
_NOT_COPIED = shutil.ignore_patterns(".terraform*", "*.tfstate*", ".build", "__pycache__")


def folders() -> list[Path]:
    """The root module, every module and every example."""
    found = [TERRAFORM, *TERRAFORM.glob("modules/*"), *TERRAFORM.glob("examples/*")]
    return sorted(each for each in found if any(each.glob("*.tf")))


def own_tests(folder: Path) -> set[str]:
    """FILE:RUN of every `run` block below the folder's tests/."""
    return {
        f"{path.relative_to(folder).as_posix()}:{name}"
        for path in folder.glob("tests/*.tftest.hcl")
        for name in re.findall(r'^run "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    }


class StandIn:
    """One long-lived process of the stand-in provider. It ends when this process does, however that ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def reattach(self, cwd: Path, env: Mapping[str, str]) -> str:
        """The value of TF_REATTACH_PROVIDERS for a Terraform that runs in `cwd`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"cwd": str(cwd), "env": dict(env)}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the stand-in provider ended with {self._process.wait()}"
        return answer.strip()


@contextlib.contextmanager
def standing_in() -> Iterator[StandIn]:
    command = [sys.executable, "-m", "tests.terraform.standin"]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield StandIn(process)
    finally:
        process.communicate(timeout=30)  # it ends with its input


@dataclasses.dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Terraform:
    """The program in one folder, which is a copy (see `copied`): it leaves its state there.

    A command that fails raises AssertionError with all that it said, but for `run`.
    """

    def __init__(self, standin: StandIn, folder: Path, scratch: Path, env: Mapping[str, str] | None = None) -> None:
        """`scratch` is an empty folder for its own files; `env` the provider's environment: a simulator's, say."""
        self.folder = folder
        (scratch / "terraformrc").touch()
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
            "CHECKPOINT_DISABLE": "1",
            "NO_COLOR": "1",
            "TF_CLI_CONFIG_FILE": str(scratch / "terraformrc"),
            "TF_DATA_DIR": str(scratch / "data"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "TF_REATTACH_PROVIDERS": standin.reattach(self.folder, env or {}),
        }
        self._scratch = scratch

    def run(self, *arguments: str, **env: str) -> Ran:
        command = [terraform_program(), f"-chdir={self.folder}", *arguments]
        done = subprocess.run(
            command, env={**self._env, **env}, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def checked(self, *arguments: str, **env: str) -> str:
        ran = self.run(*arguments, **env)
        assert ran.code == 0, f"terraform {' '.join(arguments)}: {ran.code}\n{ran.text}"
        return ran.out

    def init(self) -> Terraform:
        self.checked("init", "-no-color", "-backend=false")
        return self

    def validate(self) -> None:
        found = json.loads(self.run("validate", "-json").out)
        problems = [
            f"{each.get('range', {}).get('filename')}: {each['summary']}: {each.get('detail')}"
            for each in found["diagnostics"]
        ]
        assert problems == []

    def apply(self, **variables: Any) -> str:
        return self.checked("apply", "-no-color", "-auto-approve", *_variables(variables))

    def destroy(self, **variables: Any) -> str:
        return self.checked("destroy", "-no-color", "-auto-approve", *_variables(variables))

    def outputs(self) -> dict[str, Any]:
        return {name: each["value"] for name, each in json.loads(self.checked("output", "-json")).items()}

    def resources(self) -> dict[str, dict[str, Any]]:
        """{address: attributes} of all that is in the state."""
        return dict(_resources(json.loads(self.checked("show", "-json"))["values"]["root_module"]))

    def plan(self, **variables: Any) -> dict[str, Any]:
        """`terraform show -json` of a new plan; {} where it changes nothing."""
        path = str(self._scratch / "plan")
        arguments = ("plan", "-no-color", "-detailed-exitcode", f"-out={path}", *_variables(variables))
        ran = self.run(*arguments)
        assert ran.code in (0, 2), f"terraform {' '.join(arguments)}: {ran.code}\n{ran.text}"
        found: dict[str, Any] = json.loads(self.checked("show", "-json", path)) if ran.code == 2 else {}
        return found

    def changes(self, **variables: Any) -> dict[str, str]:
        """{address: "create", "update", "delete" or "delete, create"} of the next apply; outputs as `output.NAME`."""
        plan = self.plan(**variables)
        found = {each["address"]: each["change"]["actions"] for each in plan.get("resource_changes", [])}
        found |= {f"output.{name}": each["actions"] for name, each in plan.get("output_changes", {}).items()}
        return {address: ", ".join(each) for address, each in found.items() if each not in (["no-op"], ["read"])}

    def test(self) -> list[str]:
        """FILE:RUN of every `run` block, as in `own_tests`; AssertionError with the messages of those that failed."""
        report = self._scratch / "junit.xml"
        ran = self.run("test", "-no-color", f"-junit-xml={report}")
        assert report.exists(), ran.text
        runs, failures = _junit(report)
        assert failures == [] and ran.code == 0, "\n".join([*failures, ran.text])
        return runs


def terraform_program() -> str:
    found = shutil.which("terraform")
    assert found, MISSING
    return found


def copied(target: Path) -> Path:
    """A copy of terraform/ in the folder `target`, beside launcher/, of which it makes the functions' archive."""
    copy = shutil.copytree(TERRAFORM, target / TERRAFORM.name, ignore=_NOT_COPIED)
    (target / "launcher").symlink_to(ROOT / "launcher", target_is_directory=True)
    return Path(copy)


def simulator_env(simulator: Mapping[str, str]) -> dict[str, str]:
    """What `launcher sim env --terraform` prints, for the provider of a Terraform that talks to that simulator."""
    command = [sys.executable, "-m", "launcher.cli", "sim", "env", "--terraform"]
    done = subprocess.run(command, env=dict(simulator), capture_output=True, text=True, check=True)
    return dict(re.findall(r"^export (\w+)=(\S+)$", done.stdout, re.MULTILINE))


def _resources(module: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((each["address"], each["values"]) for each in module.get("resources", []))
    for inner in module.get("child_modules", []):
        yield from _resources(inner)


def _variables(variables: Mapping[str, Any]) -> list[str]:
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
    ]


def _junit(report: Path) -> tuple[list[str], list[str]]:
    runs: list[str] = []
    failures: list[str] = []
    for suite in ET.parse(report).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            runs.append(f"{suite.get('name')}:{case.get('name')}")
            for bad in (*case.iter("failure"), *case.iter("error"), *case.iter("skipped")):
                failures.append(f"{runs[-1]}: {bad.get('message') or ''}\n{(bad.text or '').strip()}")
    return runs, failures
