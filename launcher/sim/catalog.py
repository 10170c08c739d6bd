"""What the simulated Cloud TPU offers: accelerator types, their topologies and hosts, zones, runtime versions.

Written from Google's published tables, and on purpose not shared with the library's own registry: a mistake
there has to show here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RUNTIME_VERSIONS = (
    "tpu-ubuntu2204-base",
    "tpu-vm-base",
    "tpu-vm-v4-base",
    "v2-alpha-tpuv5",
    "v2-alpha-tpuv5-lite",
    "v2-alpha-tpuv6e",
)


@dataclass(frozen=True)
class Accelerator:
    """One accelerator type. `topology` and `chips` count chips, the name's suffix may count TensorCores."""

    name: str
    config_type: str
    topology: str
    chips: int
    hosts: int

    @property
    def chips_per_host(self) -> int:
        """Chips that one worker of a node of this type has."""
        return self.chips // self.hosts


@dataclass(frozen=True)
class _Generation:
    prefix: str
    config_type: str
    suffix_per_chip: int
    one_host_chips: int  # up to this many chips sit on one host; above, four to a host
    topologies: tuple[str, ...]
    zones: tuple[str, ...]
    device_zones: tuple[str, ...] = ()  # only the smallest size


_GENERATIONS = (
    _Generation(
        "v2", "V2", 2, 4,
        ("2x2", "4x4", "8x8", "8x16", "16x16"),
        ("us-central1-a", "europe-west4-a"), ("us-central1-b", "us-central1-c", "asia-east1-c"),
    ),
    _Generation(
        "v3", "V3", 2, 4,
        ("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32"),
        ("europe-west4-a",), ("us-central1-a", "us-central1-b"),
    ),
    _Generation(
        "v4", "V4", 2, 4,
        ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16",
         "16x16x16"),
        ("us-central2-b",),
    ),
    _Generation(
        "v5litepod", "V5LITE_POD", 1, 8,
        ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
        ("us-central1-a", "us-south1-a", "us-west1-c", "us-west4-a", "europe-west4-a", "europe-west4-b",
         "asia-southeast1-b"),
    ),
    _Generation(
        "v5p", "V5P", 2, 4,
        ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x4x12", "4x8x8", "4x4x20", "4x8x12",
         "4x4x28", "8x8x8", "4x12x12", "4x8x20", "8x8x12", "8x8x16", "8x12x12", "8x8x20", "8x12x16", "8x16x16",
         "12x12x12", "12x12x16", "8x16x24", "12x16x16", "16x16x16", "12x16x24", "16x16x24"),
        ("us-central1-a", "us-east5-a", "europe-west4-b"),
    ),
    _Generation(
        "v6e", "V6E", 1, 8,
        ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
        ("us-central1-b", "us-east1-d", "us-east5-a", "us-east5-b", "us-south1-a", "us-west1-c",
         "europe-west4-a", "asia-northeast1-b", "asia-southeast1-b", "southamerica-west1-a"),
    ),
)  # fmt: skip


def _accelerator(generation: _Generation, topology: str) -> Accelerator:
    chips = 1
    for side in topology.split("x"):
        chips *= int(side)
    hosts = 1 if chips <= generation.one_host_chips else chips // 4
    name = f"{generation.prefix}-{chips * generation.suffix_per_chip}"
    return Accelerator(name, generation.config_type, topology, chips, hosts)


def _by_zone() -> dict[str, dict[str, Accelerator]]:
    zones: dict[str, dict[str, Accelerator]] = {}
    for generation in _GENERATIONS:
        types = [_accelerator(generation, topology) for topology in generation.topologies]
        for zone in generation.zones:
            zones.setdefault(zone, {}).update({each.name: each for each in types})
        for zone in generation.device_zones:
            zones.setdefault(zone, {})[types[0].name] = types[0]
    return dict(sorted(zones.items()))


_ZONES = _by_zone()
ZONES = tuple(_ZONES)


def accelerators(zone: str) -> list[Accelerator]:
    """The types offered in `zone`, by generation and size. Empty for a zone without TPUs."""
    return list(_ZONES.get(zone, {}).values())


def accelerator(zone: str, name: str) -> Accelerator | None:
    """The type called `name`, or None where `zone` does not offer it."""
    return _ZONES.get(zone, {}).get(name)


def accelerator_of_config(zone: str, config_type: str, topology: str) -> Accelerator | None:
    """The type that an AcceleratorConfig means, or None where `zone` does not offer it."""
    for each in accelerators(zone):
        if (each.config_type, each.topology) == (config_type, topology):
            return each
    return None


def region(zone: str) -> str:
    """The region of `zone`: `us-west4-a` is in `us-west4`."""
    return re.sub(r"-[^-]+$", "", zone)
