"""After an apply of everything there is nothing left to do. Of the examples: see test_platform_json.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.terraform.conftest import Run
from tests.terraform.harness import TERRAFORM, copied
from tests.terraform.standin import trim

EVERYTHING: dict[str, Any] = {
    "project_id": "demo-project",
    "region": "us-central1",
    "alerts": {"emails": ["ada@example.com"]},
    "budget": {"amount": 500, "billing_account": "000000-000000-000000"},
    "gke": {
        "location": "us-central1-b",
        "node_pools": {
            "v6e-4": {"machine_type": "ct6e-standard-4t", "max_nodes": 2, "spot": True, "zones": ["us-central1-b"]},
        },
    },
    "kms_key": "projects/demo-project/locations/us-central1/keyRings/tpu/cryptoKeys/tpu",
    "labels": {"team": "research"},
    "launcher_users": ["user:ada@example.com"],
    "network": {"private": True},
    "operators": ["group:operators@example.com"],
    "secrets": {"hf-token": {}},
    "teams": {"vision": {"members": ["user:grace@example.com"]}},
    "tpu_pools": {"dev": {"accelerator": "v5litepod-8", "zones": ["us-central1-a"]}},
    "tpu_vms": {
        "desk": {"accelerator": "v5litepod-1", "team": "vision", "zone": "us-central1-a"},
        "rare": {"accelerator": "v5litepod-4", "queued": True, "zone": "us-central1-a"},
    },
}


def test_of_everything_that_can_be_turned_on(terraform: Run, tmp_path: Path) -> None:
    here = terraform(copied(tmp_path)).init()
    here.apply(**EVERYTHING)
    assert here.changes(**EVERYTHING) == {}
    there = here.resources()
    sources = [
        path for path in TERRAFORM.rglob("*.tf") if not {"examples", "tests"} & {*path.relative_to(TERRAFORM).parts}
    ]
    made = {re.findall(r"\b(?:archive|google)_\w+", address)[0] for address in there}
    assert {name for _, _, name in trim.used(sources)} - made == set()
    here.destroy(**EVERYTHING)
    assert here.changes(**EVERYTHING).keys() >= {each for each in there if ".data." not in f".{each}"}
