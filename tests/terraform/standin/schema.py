"""The providers' schemas: `terraform providers schema -json`, cut to what is used, with hints in "x".

The hints are what the provider's code knows and the protocol cannot say: force_new, default, enum, conflicts_with,
exactly_one_of, required_with, validate, computed (of a block). trim.py makes the files.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from tests.terraform.standin.protocol import NESTING
from tests.terraform.standin.values import Object

FOLDER = Path(__file__).parent / "schemas"
PROVIDERS = ("archive", "google", "google-beta")


@functools.cache
def load_schema(provider: str) -> Object:
    document: Object = json.loads((FOLDER / f"{provider}.json").read_text(encoding="utf-8"))
    return document


def hint(schema: Object, name: str) -> Any:
    return schema.get("x", {}).get(name)


def schema_message(schema: Object) -> dict[str, Any]:
    return {"version": schema.get("version", 0), "block": _block_message(schema["block"])}


def _block_message(block: Object) -> dict[str, Any]:
    return {
        "attributes": [
            {**attribute, "name": name, "type": json.dumps(attribute["type"]).encode()}
            for name, attribute in block.get("attributes", {}).items()
        ],
        "block_types": [
            {
                "type_name": name,
                "block": _block_message(nested["block"]),
                "nesting": NESTING[nested["nesting_mode"]],
                "min_items": nested.get("min_items", 0),
                "max_items": nested.get("max_items", 0),
            }
            for name, nested in block.get("block_types", {}).items()
        ],
    }
