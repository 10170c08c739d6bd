"""Each example runs on the simulator as it stands, started as a user would start it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import Ran
from tests.e2e.conftest import User, assert_nothing_left

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def here(simulator: dict[str, str], tmp_path: Path) -> Iterator[User]:
    yield User(tmp_path, {**simulator, "LAUNCHER_KEEP_WARM_S": "0"})
    assert_nothing_left(simulator)


def run(user: User, script: str, *arguments: str) -> Ran:
    return user.finish(user.start(str(EXAMPLES / script), *arguments), timeout_s=400)


def test_hello(here: User) -> None:
    ran = run(here, "hello/hello.py")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("hello world, from ")
    assert "SIMULATED" in ran.err


def test_jax_sees_every_chip_of_the_accelerator(here: User) -> None:
    ran = run(here, "jax_devices/jax_devices.py", "--accelerator", "v5litepod-4")
    assert ran.code == 0, ran.err
    assert "cpu:3" in ran.out.lower() and "cpu:4" not in ran.out.lower()


def test_gemma_learns_and_the_result_comes_back_whole(here: User, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ran = run(here, "gemma_genz/finetune.py", "--epochs", "3", "--json", str(report))
    assert ran.code == 0, ran.err
    result = json.loads(report.read_text())
    assert result["losses"][-1] < result["losses"][0]
    assert len(result["answers"]) == 38
    assert list(result["timeline"]) == ["pack", "wait", "connect", "environment", "user code", "result"]
    assert "epoch 1/3: loss" in ran.out and sys.executable not in ran.out
