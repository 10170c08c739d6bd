"""The root module and every module: as Terraform reads and tests them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terraform.conftest import Run
from tests.terraform.harness import TERRAFORM, folders, own_tests
from tests.terraform.standin import trim

FOLDERS = [
    pytest.param(folder, id=folder.relative_to(TERRAFORM).as_posix())
    for folder in folders()
    if folder.parent.name != "examples"
]


def test_there_is_something_to_test() -> None:
    assert TERRAFORM in folders() and len(FOLDERS) > 1


def test_every_file_is_formatted(terraform: Run, platform_copy: Path) -> None:
    ran = terraform(platform_copy).run("fmt", "-check", "-recursive", "-diff", "-no-color")
    assert (ran.code, ran.text) == (0, "")


def test_the_stand_in_knows_every_resource() -> None:
    missing = trim.missing(trim.used(TERRAFORM.rglob("*.tf")))
    assert missing == [], "add them to standin/schemas: see standin/trim.py"


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_is_valid_and_passes_its_own_tests(terraform: Run, platform_copy: Path, folder: Path) -> None:
    here = terraform(platform_copy / folder.relative_to(TERRAFORM)).init()
    here.validate()
    assert set(here.test()) == own_tests(folder)
