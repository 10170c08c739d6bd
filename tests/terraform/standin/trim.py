"""python -m tests.terraform.standin.trim SOURCE: cuts the full schemas in SOURCE to what terraform/ uses.

SOURCE holds google.json, google-beta.json and archive.json, each as `terraform providers schema -json` prints one
provider, with the hints of schema.py.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.terraform.standin.schema import FOLDER, PROVIDERS
from tests.terraform.standin.values import Object

ROOT = Path(__file__).parents[3] / "terraform"
_BLOCK = re.compile(r'^(resource|data)\s+"(\w+)"\s+"\w+"\s*\{(.*?)^\}', re.MULTILINE | re.DOTALL)
_BETA = re.compile(r"^\s*provider\s*=\s*google-beta\b", re.MULTILINE)
_KEEP_ENDPOINTS = {"storage_custom_endpoint", "tpu_v2_custom_endpoint"}
_KINDS = {"resource": "resource_schemas", "data": "data_source_schemas"}
Used = set[tuple[str, str, str]]


def used(sources: Iterable[Path]) -> Used:
    """(provider, "resource" or "data", type) of every block in these files."""
    found: Used = set()
    for source in sources:
        for kind, type_name, body in _BLOCK.findall(source.read_text(encoding="utf-8")):
            provider = type_name.partition("_")[0]
            if provider != "terraform":  # built in
                found.add(("google-beta" if _BETA.search(body) else provider, kind, type_name))
    return found


def missing(wanted: Used) -> list[str]:
    """What of it the trimmed schemas do not have."""
    found = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in PROVIDERS}
    return [
        f"{provider}: {kind} {type_name}"
        for provider, kind, type_name in sorted(wanted)
        if type_name not in found.get(provider, {}).get(_KINDS[kind], {})
    ]


def trimmed(full: Object, provider: str, wanted: Used) -> Object:
    """The schemas of that provider which are wanted; of its own arguments few of the 300 endpoints."""
    settings = full["provider"]["block"].get("attributes", {})
    block = {
        "attributes": {
            name: each
            for name, each in settings.items()
            if not name.endswith("_custom_endpoint") or name in _KEEP_ENDPOINTS
        }
    }
    out: Object = {"provider": {"block": block}}
    for kind, key in _KINDS.items():
        types = sorted(name for where, what, name in wanted if (where, what) == (provider, kind))
        out[key] = {name: full[key][name] for name in types if name in full.get(key, {})}
    return out


def write(path: Path, document: Object) -> None:
    """One type a line, so that a diff shows which of them changed."""

    def text(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    parts = [f'"provider":{text(document["provider"])}']
    for key in _KINDS.values():
        lines = ",\n".join(f"{text(name)}:{text(each)}" for name, each in document[key].items())
        parts.append(f"{text(key)}:{{\n{lines}\n}}" if lines else f"{text(key)}:{{}}")
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    FOLDER.mkdir(exist_ok=True)
    folders = [ROOT, *map(Path, sys.argv[2:])]
    wanted = used(source for folder in folders for source in sorted(folder.rglob("*.tf")))
    for provider in PROVIDERS:
        full = json.loads((Path(sys.argv[1]) / f"{provider}.json").read_text(encoding="utf-8"))
        write(FOLDER / f"{provider}.json", trimmed(full, provider, wanted))
    unknown = missing(wanted)
    if unknown:
        sys.exit("not in the full schemas:\n" + "\n".join(unknown))


if __name__ == "__main__":
    main()
