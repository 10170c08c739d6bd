"""What each example writes into platform.json is what the launcher's own loader reads out of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from launcher.accelerators import parse as accelerator
from launcher.records import platform
from tests.terraform.conftest import Run
from tests.terraform.harness import TERRAFORM, Terraform, copied

EXAMPLES = sorted(each.parent.name for each in TERRAFORM.glob("examples/*/main.tf"))
FILE = "module.platform.google_storage_bucket_object.platform"


def applied(terraform: Run, folder: Path, example: str) -> Terraform:
    here = terraform(copied(folder) / "examples" / example).init()
    here.apply(project_id="demo-project")
    assert here.changes(project_id="demo-project") == {}  # a second plan is empty
    return here


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_launcher_reads_what_the_example_writes(terraform: Run, tmp_path: Path, example: str) -> None:
    here = applied(terraform, tmp_path, example)
    file = here.resources()[FILE]
    document = json.loads(file["content"])
    assert here.outputs()["launcher"] == document
    assert (file["name"], file["bucket"]) == ("platform.json", document["control_bucket"])

    found = platform.parse(file["content"].encode())
    assert lost(document, read_back(found)) == {}
    assert (found.schema, found.platform, found.project) == (platform.SCHEMA, "tpu", "demo-project")
    # What the launcher needs to run anything: where, as whom, and an accelerator that it knows.
    assert found.zones and found.bucket and (found.service_account or found.service_accounts)
    for each in (*found.pools.values(), *found.nodes):
        assert accelerator(each.accelerator).name == each.accelerator


def read_back(found: platform.PlatformFile) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(found)))  # type: ignore[no-any-return]


def lost(written: Any, read: Any) -> dict[str, Any]:
    """What stands in the file and is not read, or read as something else, by its place."""
    if isinstance(written, dict) and isinstance(read, dict):
        return {
            f"{key}.{inner}".rstrip("."): value
            for key, each in written.items()
            for inner, value in lost(each, read.get(key)).items()
        }
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return {
            f"[{number}].{inner}".rstrip("."): value
            for number, (one, other) in enumerate(zip(written, read, strict=True))
            for inner, value in lost(one, other).items()
        }
    return {} if written == read else {"": (written, read)}
