"""The environment that Google builds for the functions: their own requirements and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_REQUIREMENTS = Path(__file__).parents[2] / "launcher/functions/requirements.txt"


@pytest.fixture(scope="session")
def function_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its interpreter. Files are links into uv's cache, which `make` filled with the very same versions."""
    environment = tmp_path_factory.mktemp("function") / "environment"
    uv = Path(sys.executable).with_name("uv")
    python = environment / "bin/python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    command = [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", _REQUIREMENTS]
    subprocess.run(command, check=True)
    return python
