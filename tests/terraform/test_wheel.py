"""An installed launcher carries terraform/, and makes the same platform of it as a checkout does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.terraform.conftest import Run
from tests.terraform.harness import ROOT, TERRAFORM, copied

PLATFORM = {"project_id": "demo-project", "region": "us-central1", "zones": ["us-central1-a"]}


def built(kind: str, source: Path, target: Path) -> Path:
    """The wheel or sdist of a source tree; the same back end as `pip install` asks, without its isolation."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel lays it into site-packages."""
    wheel = built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site / "launcher"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_the_checkout_does_but_for_tests_and_what_runs_leave(installed: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."],
        cwd=TERRAFORM,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    wanted = {name for name in listed if name and "tests" not in Path(name).parts and name != ".checkov.yaml"}
    assert {"variables.tf", "modules/idle-shutdown/main.tf", "examples/minimal/main.tf"} <= wanted
    assert files(installed / "terraform") == {name: (TERRAFORM / name).read_bytes() for name in wanted}


def test_a_wheel_of_the_sdist_is_the_wheel_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    with tarfile.open(built("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    with zipfile.ZipFile(built("wheel", source, tmp_path / "wheel")) as wheel:
        wheel.extractall(tmp_path / "site")
    assert files(tmp_path / "site/launcher") == files(installed)


def test_it_plans_the_platform_with_the_very_archive_of_the_checkout(
    terraform: Run, installed: Path, tmp_path: Path
) -> None:
    archives, plans = [], []
    package = Path(shutil.copytree(installed, tmp_path / "site/launcher"))  # a plan writes the archive below it
    for folder in (package / "terraform", copied(tmp_path)):
        here = terraform(folder).init()
        here.validate()
        plans.append(
            {change["address"]: change["change"]["after"] for change in here.plan(**PLATFORM)["resource_changes"]}
        )
        (archive,) = (folder / ".build").iterdir()
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    assert plans[0] == plans[1]
    assert any(address.endswith("google_cloudfunctions2_function.this") for address in plans[0])
