"""Every example: as Terraform reads and tests it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terraform.conftest import Run
from tests.terraform.harness import TERRAFORM, folders, own_tests

EXAMPLES = [each for each in folders() if each.parent.name == "examples"]


def test_there_is_something_to_test() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_it_is_valid_and_passes_its_own_tests(terraform: Run, platform_copy: Path, folder: Path) -> None:
    here = terraform(platform_copy / folder.relative_to(TERRAFORM)).init()
    here.validate()
    assert set(here.test()) == own_tests(folder)
