"""terraform/catalog.json: what Terraform has to know of accelerators, from the launcher's own tables.

Shapes, runtime versions and prices are those of launcher/accelerators.py, zones those of the simulator's catalog.
`python -m tests.terraform.catalog --write` writes the file; without the flag it prints it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from launcher.accelerators import (
    PRICES_AS_OF,
    PRICES_SOURCE,
    Accelerator,
    all_accelerators,
    parse,
    price_per_chip_hour,
    priced_regions,
)
from launcher.errors import ConfigError
from launcher.sim import catalog

PATH = Path(__file__).parents[2] / "terraform" / "catalog.json"
ALIASES = ("v5e", "v5lite", "v5-lite", "trillium")


def build() -> dict[str, Any]:
    """The whole document."""
    by_generation: dict[str, list[Accelerator]] = {}
    for each in all_accelerators():
        by_generation.setdefault(each.generation, []).append(each)
    prices = {_price_list(each): _prices(each) for each in all_accelerators()}
    return {
        "about": "Made by `python -m tests.terraform.catalog --write`; a test compares them.",
        "as_of": PRICES_AS_OF,
        "source": PRICES_SOURCE,
        "accelerators": {
            each.name: {
                "chips": each.chips,
                "generation": each.generation,
                "hosts": each.hosts,
                "price": _price_list(each),
                "topology": each.topology,
            }
            for each in all_accelerators()
        },
        "generations": {name: _generation(sizes) for name, sizes in by_generation.items()},
        "usd_per_chip_hour": {name: regions for name, regions in prices.items() if regions},
    }


def _generation(sizes: list[Accelerator]) -> dict[str, Any]:
    """`zones` have every size that Google sells of it, `smallest_zones` only the smallest."""
    smallest, *larger = (each.name for each in sizes)
    zones = [zone for zone in catalog.ZONES if any(catalog.accelerator(zone, name) for name in larger)]
    only_smallest = [zone for zone in catalog.ZONES if catalog.accelerator(zone, smallest) and zone not in zones]
    prefix = smallest.rpartition("-")[0]
    return {
        "prefix": prefix,
        "runtime_version": sizes[0].default_runtime_version,
        "smallest": smallest,
        "smallest_zones": only_smallest,
        "words": [prefix, *(word for word in ALIASES if _means(word, sizes[0]))],
        "zones": zones,
    }


def _means(word: str, accelerator: Accelerator) -> bool:
    try:
        return parse(f"{word}-{accelerator.name.rpartition('-')[2]}") == accelerator
    except ConfigError:
        return False


def _price_list(accelerator: Accelerator) -> str:
    """Single-host and larger slices of v2 and v3 have prices of their own."""
    pod = accelerator.generation in ("v2", "v3") and accelerator.hosts > 1
    return accelerator.generation + (" pod" if pod else "")


def _prices(accelerator: Accelerator) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for region in priced_regions():
        for kind, spot in (("on_demand", False), ("spot", True)):
            price = price_per_chip_hour(accelerator, region, spot)
            if price:
                found.setdefault(region, {})[kind] = price.usd_per_chip_hour
    return found


def text() -> str:
    """The document, one line for each of its entries, so that a change shows as one line."""
    parts = []
    for key, value in build().items():
        if isinstance(value, dict):
            rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items())
            parts.append(f"  {json.dumps(key)}: {{\n{rows}\n  }}")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PATH.write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())
