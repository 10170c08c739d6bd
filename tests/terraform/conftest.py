"""One stand-in provider for all tests of a process, and Terraform in copies of the checkout's folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.terraform import harness
from tests.terraform.harness import StandIn, Terraform

# Terraform in one folder; the second argument is the provider's environment.
Run = Callable[..., Terraform]


@pytest.fixture(scope="session")
def standin() -> Iterator[StandIn]:
    with harness.standing_in() as found:
        yield found


@pytest.fixture
def terraform(standin: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`terraform(folder, env)`: the program in that folder."""

    def run(folder: Path, env: Mapping[str, str] | None = None) -> Terraform:
        return Terraform(standin, folder, tmp_path_factory.mktemp("terraform"), env)

    return run


@pytest.fixture(scope="session")
def platform_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of terraform/ for tests that leave no state of theirs in it."""
    return harness.copied(tmp_path_factory.mktemp("platform"))
