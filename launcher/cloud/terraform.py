"""What a Terraform folder says of the platform that was applied there."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError


def output(folder: Path, name: str) -> dict[str, Any]:
    """An output, an object, of what was applied in `folder`. It is read from the state, wherever that is.

    ConfigError where there is no terraform, no such folder, or no such output.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder. Give the one in which terraform apply was run.")
    if shutil.which("terraform") is None:
        raise ConfigError(
            "terraform is not on PATH: install it (https://developer.hashicorp.com/terraform/install), or give the "
            "control bucket's name: launcher init --bucket NAME"
        )
    from python_terraform import IsFlagged, Terraform

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # python-terraform 0.10 calls Logger.warn
            code, out, err = Terraform(working_dir=str(folder)).cmd("output", name, json=IsFlagged, no_color=IsFlagged)
        found = json.loads(out) if code == 0 else None
    except ValueError as exc:  # python-terraform reads a local state too
        raise ConfigError(
            f"{folder}: its state cannot be read: {exc}. Give the bucket: launcher init --bucket NAME"
        ) from exc
    if code != 0:
        said = err[max(err.rfind("Error: "), 0) :].strip()  # warnings come before it
        raise ConfigError(f"{folder}: terraform has no output {name!r} there. It said:\n{said}\nFix: terraform apply")
    if not isinstance(found, dict):
        raise ConfigError(f"{folder}: output {name!r} is no platform of this launcher's.")
    return found
