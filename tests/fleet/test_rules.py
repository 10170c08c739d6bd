"""What a call gets of the platform's pools, and what it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import ConfigError, Unavailable
from launcher.fleet import rules
from launcher.records.paths import PLATFORM
from launcher.settings import Settings, resolve
from tests.fleet.fakes import ZONE, Fake, fake
from tests.fleet.platforms import OTHER_ZONE, give_file, pool

POOLS = {
    "big": pool(accelerator="v5litepod-8", zones=[OTHER_ZONE, ZONE], reservation="r1", runtime_version="pinned"),
    "small-2": pool(keep_warm_s=60, max_lifetime_s=7200),
    "small-1": pool(zones=[OTHER_ZONE], keep_warm_s=120),
    "spot": pool(spot=True),
}


@pytest.fixture
def world() -> Fake:
    world = fake(control_bucket="c")
    give_file(world, pools=POOLS)
    return world


def settle(world: Fake, **options: Any) -> Settings:
    return rules.settle(world.platform, resolve(options))


def refusal(world: Fake, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settle(world, **options)
    return str(caught.value)


def test_without_a_file_or_pools_nothing_is_decided() -> None:
    world = fake(control_bucket="c")
    asked = resolve({"accelerator": "v6e-8"})
    assert rules.settle(fake().platform, asked) is asked
    give_file(world)
    assert rules.settle(world.platform, asked) is asked
    assert refusal(world, pool="x") == "pool = 'x': platform p has no pools."


def test_the_first_pool_by_name_whose_accelerator_market_and_zones_fit(world: Fake) -> None:
    assert settle(world).pools == ("small-1",)
    assert settle(world, zone=ZONE).pools == ("small-2",)
    assert settle(world, spot=True).pools == ("spot",)
    assert settle(world, pool="small-2").pools == ("small-2",)


def test_what_the_call_does_not_say_is_the_pools(world: Fake) -> None:
    found = settle(world, accelerator="v5e-8")
    assert (found.zones, found.reservation, found.runtime_version) == ((OTHER_ZONE, ZONE), "r1", "pinned")
    assert (found.keep_warm_s, found.max_lifetime_s) == (900.0, 86400.0)
    found = settle(world, zone=ZONE, keep_warm_s=0, max_lifetime_s=60)
    assert (found.zones, found.keep_warm_s, found.max_lifetime_s) == ((ZONE,), 0.0, 60.0)
    assert settle(world, accelerator="v5e-8", reservation="projects/p/locations/z/reservations/r1").pools == ("big",)


def test_a_pool_that_is_named_says_what_it_is(world: Fake) -> None:
    found = settle(world, pool="big")
    assert (found.accelerator.name, found.spot, found.pools) == ("v5litepod-8", False, ("big",))
    assert settle(world, pool="spot").spot
    assert "has not what the call asks for (v6e-1, on demand); it has accelerator v5litepod-8" in refusal(
        world, pool="big", accelerator="v6e-1"
    )
    assert "Did you mean 'small-2'?" in refusal(world, pool="small2")


def test_an_accelerator_of_several_hosts_is_refused_as_the_decorator_does() -> None:
    world = fake(control_bucket="c")
    give_file(world, pools={"many": pool(accelerator="v5litepod-16")})
    assert "'v5litepod-16' has 4 hosts; more than one comes with a later version" in refusal(world, pool="many")


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "v6e-8"},
        {"accelerator": "v5e-8", "spot": True},
        {"zone": "us-east5-a"},
        {"zone": [ZONE, OTHER_ZONE]},
        {"reservation": "r1"},
        {"accelerator": "v5e-8", "runtime_version": "other"},
    ],
)
def test_what_no_pool_has_is_refused_with_what_there_is(world: Fake, options: dict[str, Any]) -> None:
    text = refusal(world, **options)
    assert text.startswith("no pool of platform p has ") and f"spot: v5litepod-1, spot, {ZONE}" in text
    assert f"big: v5litepod-8, reservation r1, pinned, {OTHER_ZONE}, {ZONE}" in text
    assert "an operator of the platform can add another to tpu_pools in Terraform" in text


def test_a_refusal_names_all_that_was_asked_for(world: Fake) -> None:
    text = refusal(world, accelerator="v5e-8", reservation="projects/p/locations/z/reservations/r2", zone=ZONE)
    assert text.startswith(f"no pool of platform p has v5litepod-8, reservation r2, {ZONE}. ")
    assert refusal(world, accelerator="v5e-8", runtime_version="other").startswith(
        "no pool of platform p has v5litepod-8, on demand, other. "
    )


def test_limits_are_told_all_at_once_with_the_variable_that_raises_them(world: Fake) -> None:
    text = refusal(world, zone=ZONE, keep_warm_s=61, max_lifetime_s=7201, timeout_s=7201)
    for name, asked in (("keep_warm_s", 61), ("max_lifetime_s", 7201), ("timeout_s", 7201)):
        assert f"{name} = {asked} is " in text
    assert text.count('tpu_pools["small-2"].max_lifetime_s') == 2


def test_a_zone_above_the_list_price_is_left_out_and_all_of_them_are_refused(world: Fake) -> None:
    zones = ["europe-west4-b", ZONE]  # 1.56 and 1.20 dollars an hour
    for limit, left in ((1.6, ("europe-west4-b", ZONE)), (1.2, (ZONE,))):
        give_file(world, pools={"a": pool(zones=zones, max_usd_per_hour=limit)})
        world.clock.now += 1000
        assert settle(world).zones == left
    give_file(world, pools={"a": pool(zones=[*zones, "us-nowhere1-a"], max_usd_per_hour=1.19)})
    world.clock.now += 1000
    text = refusal(world)
    assert f"europe-west4-b: $1.56; {ZONE}: $1.20; us-nowhere1-a: unknown" in text
    assert 'tpu_pools["a"].max_usd_per_hour' in text and "$1.19 an hour" in text


def test_where_no_spot_is_left_another_pool_has_to_allow_it(world: Fake) -> None:
    found = settle(world, spot=True, spot_fallback=True)
    assert (found.pools, found.keep_warm_s, found.max_lifetime_s) == (("spot", "small-2"), 60.0, 7200.0)
    assert "keep_warm_s = 61 is more than pool 'small-2'" in refusal(
        world, spot=True, spot_fallback=True, keep_warm_s=61
    )
    give_file(world, pools={"spot": POOLS["spot"]})
    world.clock.now += 1000
    assert refusal(world, spot=True, spot_fallback=True).startswith(
        "spot_fallback on demand: no pool of platform p has"
    )


def test_a_node_that_stands_already_needs_no_pool(world: Fake) -> None:
    node = {"node": "p-dev", "zone": ZONE, "accelerator": "v6e-1", "runtime_version": "v2-alpha-tpuv6e"}
    give_file(world, pools=POOLS, nodes=[node])
    assert settle(world, accelerator="v6e-1").pools == ()
    assert settle(world, accelerator="v6e-1", spot=True).pools == ()
    for options in ({"zone": OTHER_ZONE}, {"runtime_version": "x"}, {"labels": {"a": "b"}}, {"reservation": "r"}):
        refusal(world, accelerator="v6e-1", **options)
    asked = resolve({"node": "p-dev", "accelerator": "v5p-8"})
    assert rules.settle(world.platform, asked) is asked


def test_the_file_is_read_once_for_some_minutes(world: Fake) -> None:
    settle(world)
    store = give_file(world, pools={})
    store.read = None  # type: ignore[method-assign, assignment]  # whoever reads it now fails
    world.clock.now += 299
    assert settle(world).pools == ("small-1",)
    del store.read
    world.clock.now += 2
    assert settle(world).pools == ()


def test_what_nobody_can_tell_is_not_guessed(world: Fake) -> None:
    store = vars(world.platform)["control_store"]
    store._objects[PLATFORM] = (b"{", 9, 0.0)
    assert refusal(world).startswith("gs://c/platform.json is damaged: not JSON: ")
    give_file(world, bucket="another")
    assert "is of platform p with bucket another; profile fake says p and b" in refusal(world)

    def down(name: str) -> None:
        raise Unavailable("503")

    store.read = down
    with pytest.raises(Unavailable):
        settle(world)
