"""What Cloud TPU offers, by name: shapes, hosts, runtime images and list prices. Standard library only.

The zone's `acceleratorTypes.list` has the last word on what can be had where. This registry knows what a name
means, so that a wrong one is refused before anything is sent.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from launcher.errors import ConfigError

__all__ = [
    "PRICES_AS_OF",
    "PRICES_SOURCE",
    "Accelerator",
    "Price",
    "all_accelerators",
    "hourly_usd",
    "parse",
    "price_per_chip_hour",
    "priced_regions",
]

PRICES_AS_OF = "2026-10"  # year and month of every price below
PRICES_SOURCE = "Google's billing catalog, through the catalogs of SkyPilot and gpuhunt; spot prices change monthly"


@dataclass(frozen=True)
class Accelerator:
    """One slice of one TPU generation: `chips` chips on `hosts` worker VMs of `chips_per_host` each.

    `name` is the Cloud TPU API's (`v5litepod-8`), whose number counts chips or (v2 to v4, v5p) TensorCores.
    `generation` is the common name (`v5e`). `topology` is what the API makes of the name by default.
    """

    name: str
    generation: str
    chips: int
    hosts: int
    chips_per_host: int
    topology: str
    hbm_gib_per_chip: int
    default_runtime_version: str

    @property
    def hbm_gib(self) -> int:
        """Memory of all chips together, in GiB."""
        return self.chips * self.hbm_gib_per_chip


@dataclass(frozen=True)
class Price:
    """A list price in US dollars per chip and hour in `region`, as of `as_of` (year-month): indicative."""

    usd_per_chip_hour: float
    region: str
    spot: bool
    as_of: str
    source: str


def parse(name: str) -> Accelerator:
    """The accelerator of this name: the API's spelling, or an alias like `v5e-8`, `tpu-v5e-8`, `trillium-8`.

    Raises ConfigError, which names the nearest right names.
    """
    if not isinstance(name, str):
        raise ConfigError(f"accelerator must be a string such as 'v5litepod-8', not {name!r}.")
    spelling = re.sub(r"^tpu-?(?=v|trillium)", "", name.strip().lower().replace("_", "-"))
    if re.match(r"(tpu-?)?(v?7x?|ironwood)(-|$)", spelling):
        raise ConfigError(
            f"accelerator {name!r}: TPU7x (Ironwood) is not in the Cloud TPU API, which the launcher uses. "
            "Google offers it through GKE and Compute Engine only. The newest one here is v6e, as in 'v6e-8'."
        )
    match = re.fullmatch(r"(.+?)(?:-([0-9]{1,9}))?", spelling)
    word, number = (match[1], match[2]) if match else ("", None)
    generation = _by_word().get(word)
    if generation is None:
        raise ConfigError(_unknown_generation(name, word, number))
    found = _registry().get(f"{generation.prefix}-{int(number)}") if number else None
    if found is None:
        raise ConfigError(_unknown_size(name, generation, number))
    return found


def all_accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator, oldest generation first, then by size."""
    return tuple(_registry().values())


def price_per_chip_hour(accelerator: Accelerator, zone: str, spot: bool = False) -> Price | None:
    """The list price in that zone or region; None where this table has none."""
    region = re.sub(r"^([a-z]+-[a-z]+[0-9]+)-[a-z0-9]+$", r"\1", zone)
    generation = accelerator.generation
    kind = f"{generation} pod" if generation in ("v2", "v3") and accelerator.hosts > 1 else generation
    on_demand_usd, spot_usd = _PRICES.get((kind, region), (None, None))
    usd = spot_usd if spot else on_demand_usd
    return None if usd is None else Price(usd, region, spot, PRICES_AS_OF, PRICES_SOURCE)


def list_price(name: str, zone: str, spot: bool) -> float | None:
    """As hourly_usd, of an accelerator as somebody else wrote it; None also for one that this version does not know."""
    try:
        return hourly_usd(parse(name), zone, spot)
    except ConfigError:
        return None


def hourly_usd(accelerator: Accelerator, zone: str, spot: bool = False) -> float | None:
    """The list price of the whole slice in US dollars per hour; None where `price_per_chip_hour` has none."""
    price = price_per_chip_hour(accelerator, zone, spot)
    return None if price is None else round(price.usd_per_chip_hour * accelerator.chips, 2)


def priced_regions() -> tuple[str, ...]:
    """The regions that the price table has anything for."""
    return tuple(sorted({region for _, region in _PRICES}))


# --- what to say about a wrong name -------------------------------------------------------------------------


def _unknown_generation(name: str, word: str, number: str | None) -> str:
    import difflib  # only a wrong name needs it

    known = _by_word()
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    nearest: dict[str, None] = {}
    for generation in (known[each] for each in close):
        nearest |= dict.fromkeys(_nearest(generation, int(number or 1)))
    advice = f"Did you mean {_or(list(nearest)[:3])}?" if nearest else "Examples: 'v5litepod-8', 'v6e-8', 'v5p-8'."
    generations = ", ".join(f"{each.prefix}-N" for each in _generations())
    return f"accelerator {name!r} is unknown. {advice} Known: {generations}; `launcher accelerators` lists all."


def _unknown_size(name: str, generation: _Generation, number: str | None) -> str:
    nearest = _or(_nearest(generation, int(number or 1)))
    if number is None:
        return f"accelerator {name!r} has no size. Did you mean {nearest}? `launcher accelerators` lists all."
    counts = generation.names_count
    explained = f"{counts} (two per chip)" if counts == "TensorCores" else counts
    return (
        f"accelerator {name!r}: no {generation.name} slice has {int(number)} {explained}. "
        f"Did you mean {nearest}? `launcher accelerators` lists all."
    )


def _nearest(generation: _Generation, number: int) -> list[str]:
    """The name with this number; else its neighbours, smaller first."""
    numbers = [int(each.name.rpartition("-")[2]) for each in generation.accelerators()]
    if number in numbers:
        near = [number]
    else:
        near = [n for n in numbers if n < number][-1:] + [n for n in numbers if n > number][:1]
    return [f"{generation.prefix}-{n}" for n in near]


def _or(names: list[str]) -> str:
    *others, last = (repr(each) for each in names)
    return f"{', '.join(others)} or {last}" if others else last


# --- the table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Generation:
    name: str
    prefix: str  # of the API's names
    other_words: tuple[str, ...]  # that people write instead of the prefix
    names_count: str  # what the number in a name counts: "TensorCores" (two per chip) or "chips"
    hbm_gib_per_chip: int
    runtime_version: str
    topologies: tuple[str, ...]
    one_host_chips: int = 4  # up to here a slice is one VM; a larger one has VMs of 4 chips

    def accelerators(self) -> list[Accelerator]:
        return [self._accelerator(topology) for topology in self.topologies]

    def _accelerator(self, topology: str) -> Accelerator:
        chips = 1
        for side in topology.split("x"):
            chips *= int(side)
        chips_per_host = chips if chips <= self.one_host_chips else 4
        return Accelerator(
            name=f"{self.prefix}-{chips * 2 if self.names_count == 'TensorCores' else chips}",
            generation=self.name,
            chips=chips,
            hosts=chips // chips_per_host,
            chips_per_host=chips_per_host,
            topology=topology,
            hbm_gib_per_chip=self.hbm_gib_per_chip,
            default_runtime_version=self.runtime_version,
        )


def _grids(*chips: int) -> tuple[str, ...]:
    """For each power of two the squarest grid of so many chips: 8 -> 2x4."""
    sides = [(1 << ((n.bit_length() - 1) // 2), n) for n in chips]
    return tuple(f"{side}x{n // side}" for side, n in sides)


def _boxes(max_cubes: int) -> tuple[str, ...]:
    """Parts of one cube of 4x4x4 chips, then every number of cubes as the most compact box.

    Google joins at most 64 cubes in a row, which leaves out the multiples of a larger prime.
    """
    boxes = ["2x2x1", "2x2x2", "2x2x4", "2x4x4"]
    for cubes in range(1, max_cubes + 1):
        splits = [
            (a, b, cubes // (a * b))
            for a in range(1, cubes + 1)
            for b in range(a, cubes // a + 1)
            if cubes % (a * b) == 0 and b <= cubes // (a * b) <= 64
        ]
        if splits:
            boxes.append("x".join(str(4 * side) for side in min(splits, key=sum)))
    return tuple(boxes)


@functools.cache
def _generations() -> tuple[_Generation, ...]:
    """As Google documents each, October 2026: docs.cloud.google.com/tpu/docs/v6e and its like."""
    until_v4 = "tpu-ubuntu2204-base"
    lite = _grids(1, 4, 8, 16, 32, 64, 128, 256)
    v2, v3 = _grids(4, 16, 64, 128, 256), _grids(4, 16, 32, 64, 128, 256, 512, 1024)
    return (
        _Generation("v2", "v2", (), "TensorCores", 16, until_v4, v2),
        _Generation("v3", "v3", (), "TensorCores", 32, until_v4, v3),
        _Generation("v4", "v4", (), "TensorCores", 32, until_v4, _boxes(64)),
        _Generation("v5e", "v5litepod", ("v5e", "v5lite", "v5-lite"), "chips", 16, "v2-alpha-tpuv5-lite", lite, 8),
        _Generation("v5p", "v5p", (), "TensorCores", 95, "v2-alpha-tpuv5", _boxes(96)),
        _Generation("v6e", "v6e", ("trillium",), "chips", 32, "v2-alpha-tpuv6e", lite, 8),
    )


@functools.cache
def _registry() -> dict[str, Accelerator]:
    return {each.name: each for generation in _generations() for each in generation.accelerators()}


@functools.cache
def _by_word() -> dict[str, _Generation]:
    return {word: each for each in _generations() for word in (each.prefix, *each.other_words)}


# US dollars per chip and hour: on demand, spot. Single-host and larger ("pod") slices of v2 and v3 differ.
_PRICES: dict[tuple[str, str], tuple[float, float | None]] = {
    ("v2", "asia-east1"): (1.31, None),
    ("v2", "europe-west4"): (1.24, None),
    ("v2 pod", "us-central1"): (1.50, 0.45),
    ("v3", "europe-west4"): (2.20, 0.66),
    ("v3 pod", "europe-west4"): (2.00, 0.60),
    ("v4", "us-central2"): (3.22, 0.97),
    ("v5e", "asia-northeast1"): (1.541, 0.424),
    ("v5e", "asia-southeast1"): (1.56, 0.78),
    ("v5e", "europe-west4"): (1.56, 0.445),
    ("v5e", "us-central1"): (1.20, 0.245),
    ("v5e", "us-east5"): (1.20, 0.60),
    ("v5e", "us-south1"): (1.416, 0.566),
    ("v5e", "us-west1"): (1.20, 0.245),
    ("v5e", "us-west4"): (1.20, 0.48),
    ("v5p", "europe-west4"): (4.2525, 1.349),
    ("v5p", "us-central1"): (4.20, 0.836),
    ("v5p", "us-east5"): (4.20, 1.68),
    ("v5p", "us-south1"): (4.779, 1.316),
    ("v6e", "asia-northeast1"): (3.24, 0.944),
    ("v6e", "asia-southeast1"): (2.97, 0.363),
    ("v6e", "europe-west4"): (2.97, 1.037),
    ("v6e", "us-central1"): (2.70, 0.544),
    ("v6e", "us-east5"): (2.70, 1.215),
    ("v6e", "us-south1"): (2.70, 1.35),
    ("v6e", "us-west1"): (2.70, 0.544),
}
