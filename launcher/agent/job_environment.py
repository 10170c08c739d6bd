"""The environment variables of the user's code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from launcher.agent.processes import MARK_VARIABLE
from launcher.records.paths import JobPaths
from launcher.records.spec import CONTEXT_VARIABLE, Spec

#: Of the login that started the agent: they would lead the job's Python elsewhere, or are that connection's own.
_DROPPED = ("VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY")


def variables(spec: Spec, *, python: Path, mark: str, chips: bool, machine: Mapping[str, str]) -> dict[str, str]:
    """What the machine sets, then what the job asks for, then what says where it runs."""
    env = {k: v for k, v in machine.items() if k not in _DROPPED and not k.startswith("PYTHON")}
    env["PATH"] = f"{python.parent}{os.pathsep}{machine.get('PATH', os.defpath)}"
    env["VIRTUAL_ENV"] = str(python.parent.parent)
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("KERAS_BACKEND", "jax")
    if chips:
        env.setdefault("JAX_PLATFORMS", "tpu,cpu")  # or JAX falls back to the CPU without a word
    env.update(spec.job.env)
    env.update(spec.secrets)
    env[CONTEXT_VARIABLE] = _context(spec)
    env[MARK_VARIABLE] = mark
    return env


def _context(spec: Spec) -> str:
    folder = f"gs://{spec.bucket}/{JobPaths(spec.job.owner, spec.job.job_id).root}"
    return json.dumps(
        {
            "job_id": spec.job.job_id,
            "attempt": spec.attempt,
            "worker": spec.worker,
            "num_workers": spec.num_workers,
            "slice": spec.slice_index,
            "num_slices": spec.num_slices,
            "checkpoint_dir": folder + "checkpoints",
            "output_dir": folder + "outputs",
        }
    )
