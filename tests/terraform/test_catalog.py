"""terraform/catalog.json is what the launcher's tables say, and a plan tells of every mistake in what is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.accelerators import all_accelerators, hourly_usd, parse
from launcher.errors import ConfigError
from launcher.sim.catalog import ZONES, accelerators
from tests.terraform import catalog
from tests.terraform.conftest import Run

CATALOG = json.loads(catalog.PATH.read_text(encoding="utf-8"))
GENERATIONS = CATALOG["generations"]


def test_the_file_is_what_the_launchers_tables_say() -> None:
    text = catalog.PATH.read_text(encoding="utf-8")
    assert text == catalog.text(), "stale: run `python -m tests.terraform.catalog --write`"


def test_prices_are_the_launchers() -> None:
    for each in all_accelerators():
        entry = CATALOG["accelerators"][each.name]
        for region, usd in CATALOG["usd_per_chip_hour"].get(entry["price"], {}).items():
            for kind, spot in (("on_demand", False), ("spot", True)):
                expected = round(usd[kind] * entry["chips"], 2) if kind in usd else None
                assert hourly_usd(each, region, spot) == expected, (each.name, region, kind)


def test_every_zone_that_has_an_accelerator_is_in_the_file() -> None:
    for zone in ZONES:
        for each in accelerators(zone):
            entry = GENERATIONS[CATALOG["accelerators"][each.name]["generation"]]
            smallest = each.name == entry["smallest"]
            assert zone in entry["zones"] or (smallest and zone in entry["smallest_zones"]), (zone, each.name)


@pytest.mark.parametrize("word", [word for each in GENERATIONS.values() for word in each["words"]])
def test_words_are_those_that_the_launcher_understands(word: str) -> None:
    (generation,) = (name for name, each in GENERATIONS.items() if word in each["words"])
    size = GENERATIONS[generation]["smallest"].rpartition("-")[2]
    assert parse(f"{word}-{size}").generation == generation


# --- what a plan says ---------------------------------------------------------------------------------------

HERE = {"zones": ["us-central1-a"]}
V5E_ZONES = (
    "asia-southeast1-b, europe-west4-a, europe-west4-b, us-central1-a, us-south1-a, us-west1-c, us-west4-a"
)  # fmt: skip
NO_SUBNET = (
    "where the platform has no subnet (it has one in us-central1). "
    "Give network.cidrs a free range for that region, or take another zone."
)
# Each has one mistake; the sentence names its place, what is wrong, and what to do.
POOLS: dict[str, tuple[dict[str, Any], str]] = {
    "Key": (
        {"accelerator": "v5litepod-8", **HERE},
        "the key cannot become part of a node's id. Use at most 32 lower-case letters, digits and dashes, "
        "a letter first and no dash last.",
    ),
    "alias": (
        {"accelerator": "TPU_v5e-8", **HERE},
        'accelerator "TPU_v5e-8" is unknown. Write it as the Cloud TPU API does: "v5litepod-8".',
    ),
    "size": (
        {"accelerator": "v5e-6", **HERE},
        'accelerator "v5e-6" is unknown. No v5e slice has this size. The nearest: "v5litepod-4" or "v5litepod-8".',
    ),
    "no-size": (
        {"accelerator": "trillium", "zones": ["us-central1-b"]},
        'accelerator "trillium" is unknown. Write it as the Cloud TPU API does: "v6e-1".',
    ),
    "too-large": (
        {"accelerator": "v5litepod-512", **HERE},
        'accelerator "v5litepod-512" is unknown. No v5e slice has this size. The nearest: "v5litepod-256".',
    ),
    "gpu": (
        {"accelerator": "h100-8", **HERE},
        'accelerator "h100-8" is unknown. Known are v2-N, v3-N, v4-N, v5litepod-N, v5p-N, v6e-N; '
        "`launcher accelerators` lists them all.",
    ),
    "ironwood": (
        {"accelerator": "tpu7x-8", **HERE},
        'accelerator "tpu7x-8" is unknown. TPU7x (Ironwood) is not in the Cloud TPU API, which the launcher uses. '
        'Take "v6e-8", or a node pool of gke.',
    ),
    "none": (
        {"accelerator": "v5litepod-8", "zones": []},
        "zones is empty. Name at least one, in the order in which they are to be asked; "
        f"v5litepod-8 is in {V5E_ZONES}.",
    ),
    "twice": (
        {"accelerator": "v5litepod-8", "zones": ["us-central1-a", "us-central1-a"]},
        "zones names one more than once: us-central1-a, us-central1-a. Name each once, "
        "in the order in which they are to be asked.",
    ),
    "region": (
        {"accelerator": "v5litepod-8", "zones": ["us-central1"]},
        '"us-central1" is no zone. Write it as us-central1-a: a region, a dash and a letter.',
    ),
    "not-there": (
        {"accelerator": "v5litepod-8", "zones": ["us-central1-b"]},
        f"zone us-central1-b has no v5litepod-8. It is in {V5E_ZONES}.",
    ),
    "no-subnet": (
        {"accelerator": "v5litepod-8", "zones": ["us-west4-a"]},
        f"zone us-west4-a lies in us-west4, {NO_SUBNET}",
    ),
    "warm": (
        {"accelerator": "v5litepod-8", "keep_warm_s": 7200, "max_lifetime_s": 3600, **HERE},
        "keep_warm_s is 7200, longer than max_lifetime_s, 3600: no node could be kept warm so long. "
        "Lower the one or raise the other (what is not set here is idle_shutdown's).",
    ),
    "part": (
        {"accelerator": "v5litepod-8", "keep_warm_s": 0.5, **HERE},
        "keep_warm_s is 0.5. Give whole seconds, 0 or more.",
    ),
    "dear": (
        {"accelerator": "v5litepod-8", "max_usd_per_hour": 5, **HERE},
        "max_usd_per_hour is 5, but in us-central1-a one v5litepod-8 costs 9.6 USD per hour (list price of 2026-10), "
        "so none would start there. Raise the limit to that, or take the zone out.",
    ),
    "dear-spot": (
        {"accelerator": "v5litepod-8", "max_usd_per_hour": 1, "spot": True, **HERE},
        "max_usd_per_hour is 1, but in us-central1-a one v5litepod-8 (spot) costs 1.96 USD per hour",
    ),
    "dear-unknown": (
        {"accelerator": "v2-8", "max_usd_per_hour": 100, "zones": ["us-central1-c"]},
        "max_usd_per_hour is 100, but what one v2-8 costs in us-central1-c is unknown, so none would start there. "
        "Leave the limit out, or take the zone out.",
    ),
    "reserved-spot": (
        {"accelerator": "v5litepod-8", "reservation": "r1", "spot": True, **HERE},
        'spot is true and reservation is "r1", but reserved nodes are never spot. Remove one of them.',
    ),
    "reserved-twice": (
        {"accelerator": "v2-8", "reservation": "r1", "zones": ["us-central1-a", "us-central1-b"]},
        'reservation "r1" lies in one zone, but zones names us-central1-a, us-central1-b. '
        "Keep the reservation's zone, and make a pool for each other one.",
    ),
    "half": (
        {"accelerator": "v5litepod-8", "max_nodes": 0.5, **HERE},
        "max_nodes is 0.5. Give a whole number, 1 or more; leave out a pool that is to have none.",
    ),
}
VMS: dict[str, tuple[dict[str, Any], str]] = {
    "spot": (
        {"accelerator": "v5litepod-1", "queued": True, "spot": True, "zone": "us-central1-a"},
        "queued and spot are both true, but the provider's queued resource cannot say spot. "
        "Set queued = false, or make it a pool, whose nodes the launcher queues itself.",
    ),
    "spot-0": (
        {"accelerator": "v5litepod-1", "zone": "us-central1-a"},
        'its node tpu-spot-0 would have the name of the node of the queued tpu_vms["spot"]. Rename one of them.',
    ),
    "stray": (
        {"accelerator": "v5litepod-1", "team": "vision", "zone": "us-central1-a"},
        'team is "vision", but the platform has no teams. Leave it out, or add it to teams.',
    ),
}


def test_one_plan_tells_of_every_mistake_and_of_nothing_else(terraform: Run, platform_copy: Path) -> None:
    here = terraform(platform_copy).init()
    variables = {
        "project_id": "demo-project",
        "region": "us-central1",
        "tpu_pools": {key: pool for key, (pool, _) in POOLS.items()},
        "tpu_vms": {key: vm for key, (vm, _) in VMS.items()},
        "zones": ["europe-west4-a"],
    }
    said = [json.loads(line) for line in here.run("plan", "-json", *_arguments(variables)).out.splitlines()]
    (error,) = (each["diagnostic"] for each in said if each["type"] == "diagnostic")
    first, *mistakes = error["detail"].split("\n- ")
    assert first == "The platform cannot be made as it is asked for:"
    expected = {
        *(f'tpu_pools["{key}"]: {sentence}' for key, (_, sentence) in POOLS.items()),
        *(f'tpu_vms["{key}"]: {sentence}' for key, (_, sentence) in VMS.items()),
        f"zones: europe-west4-a lies in europe-west4, {NO_SUBNET}",
    }
    # Some say more than is written above; none says something else.
    assert {next((each for each in expected if found.startswith(each)), found) for found in mistakes} == expected
    assert len(mistakes) == len(expected)


def _arguments(variables: dict[str, Any]) -> list[str]:
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
    ]


def test_every_wrong_name_of_the_plan_is_wrong_for_the_launcher_too() -> None:
    for key in ("size", "too-large", "gpu", "ironwood"):
        with pytest.raises(ConfigError):
            parse(POOLS[key][0]["accelerator"])
