"""The simulator's table of accelerators against Google's published sizes."""

from __future__ import annotations

import pytest

from launcher.sim import catalog


@pytest.mark.parametrize(
    "zone, name, topology, chips, hosts",
    [
        ("us-central1-b", "v2-8", "2x2", 4, 1),
        ("europe-west4-a", "v2-512", "16x16", 256, 64),
        ("europe-west4-a", "v3-2048", "32x32", 1024, 256),
        ("us-central2-b", "v4-8", "2x2x1", 4, 1),
        ("us-central2-b", "v4-8192", "16x16x16", 4096, 1024),
        ("us-west4-a", "v5litepod-1", "1x1", 1, 1),
        ("us-west4-a", "v5litepod-8", "2x4", 8, 1),
        ("us-west4-a", "v5litepod-16", "4x4", 16, 4),
        ("us-east5-a", "v5p-8", "2x2x1", 4, 1),
        ("us-east5-a", "v5p-12288", "16x16x24", 6144, 1536),
        ("us-east5-b", "v6e-8", "2x4", 8, 1),
        ("us-east5-b", "v6e-256", "16x16", 256, 64),
    ],
)
def test_accelerator_has_googles_size(zone: str, name: str, topology: str, chips: int, hosts: int) -> None:
    found = catalog.accelerator(zone, name)
    assert found is not None
    assert (found.topology, found.chips, found.hosts) == (topology, chips, hosts)
    assert catalog.accelerator_of_config(zone, found.config_type, topology) == found


@pytest.mark.parametrize(
    "zone, name", [("us-central1-b", "v2-32"), ("us-west4-a", "v5p-8"), ("mars-1", "v2-8"), ("us-west4-a", "v5e-1")]
)
def test_accelerator_that_a_zone_does_not_offer_is_absent(zone: str, name: str) -> None:
    assert catalog.accelerator(zone, name) is None


def test_no_size_is_listed_twice() -> None:
    for zone in catalog.ZONES:
        names = [each.name for each in catalog.accelerators(zone)]
        assert names and len(set(names)) == len(names)
