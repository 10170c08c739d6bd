"""The table of faults and what waits or stands, without a server."""

from __future__ import annotations

import pytest

from launcher.sim.faults import KINDS, FaultError, Faults, checked

ZONE, OTHER = "us-west4-a", "us-central1-a"
NODE = f"projects/p/locations/{ZONE}/nodes/n"


@pytest.mark.parametrize(
    "name, arguments, said",
    [
        ("stockot", {}, "no fault is called 'stockot'; did you mean 'stockout'"),
        ("gcs-503", {"zone": ZONE}, "does not strike one zone"),
        ("page-size", {"node": "n", "value": "3"}, "does not strike one node"),
        ("forbidden", {}, "forbidden needs --zone"),
        ("missing-permission", {}, "needs --value: a permission, such as tpu.nodes.create"),
        ("missing-permission", {"value": "admin"}, "is 'admin'; it must be a permission"),
        ("disabled-api", {"value": "tpu"}, "is 'tpu'; it must be a service"),
        ("stockout", {"value": "3"}, "stockout takes no value"),
        ("stockout", {"count": 0}, "must be at least 1"),
        ("zone-down", {"zone": ZONE, "count": 2}, "stands until it is taken back"),
        ("page-size", {"value": "0"}, "it must be a number from 1"),
        ("page-size", {"value": "1.5"}, "it must be a number from 1"),
        ("slow-operation", {"value": "-1"}, "it must be seconds, not negative"),
        ("clock-skew", {"value": "nan"}, "it must be seconds"),
        ("quota", {"value": "later"}, "it must be create or failed"),
        ("lost-answer", {"value": "gcs"}, "it must be tpu or storage"),
    ],
)
def test_what_is_no_fault_is_refused(name: str, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(FaultError, match=said):
        checked(name, **arguments)  # type: ignore[arg-type]
    with pytest.raises(FaultError, match=said):
        Faults().inject(name, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_every_fault_can_be_injected_and_taken_back(name: str) -> None:
    values = {"page-size": "2", "clock-skew": "-30", "missing-permission": "a.b.c", "disabled-api": "a.b.c"}
    zone = ZONE if "zone" in KINDS[name].needs else None
    faults = Faults()
    faults.inject(name, zone=zone, value=values.get(name))
    (pending,) = faults.pending()
    assert pending["name"] == name
    assert faults.clear(name) == 1 and faults.pending() == [] and faults.clear(name) == 0


def test_an_armed_fault_is_used_up_and_a_standing_one_is_not() -> None:
    faults = Faults()
    faults.inject("stockout", count=2)
    faults.inject("zone-down", zone=ZONE)
    assert [bool(faults.take("stockout", node=NODE, zone=ZONE)) for _ in range(3)] == [True, True, False]
    assert all(faults.take("zone-down", zone=ZONE) for _ in range(3))


def test_a_fault_strikes_only_where_it_was_injected() -> None:
    faults = Faults()
    faults.inject("stockout", node="n", zone=ZONE)
    assert not faults.take("stockout", node=NODE, zone=OTHER)
    assert not faults.take("stockout", node=NODE + "2", zone=ZONE)
    assert not faults.take("stockout", zone=ZONE)
    assert faults.take("stockout", node=NODE, zone=ZONE)


def test_a_fault_with_a_value_strikes_only_its_kind_of_event() -> None:
    faults = Faults()
    faults.inject("lost-answer", value="storage")
    assert not faults.take("lost-answer", zone=ZONE, value="tpu")
    assert faults.take("lost-answer", value="storage")
    faults.inject("lost-answer")
    assert faults.take("lost-answer", zone=ZONE, value="tpu")


def test_the_newer_standing_fault_counts_and_repeatable_ones_add_up() -> None:
    faults = Faults()
    for value in ("10", "20"):
        faults.inject("page-size", value=value)
        faults.inject("missing-permission", value=f"tpu.nodes.n{value}")
    found = faults.find("page-size")
    assert found is not None and found.value == 20
    assert set(faults.values("missing-permission")) == {"tpu.nodes.n10", "tpu.nodes.n20"}
    assert len(faults.pending()) == 3
    assert faults.clear("missing-permission", value="tpu.nodes.n10") == 1
    assert faults.values("missing-permission") == ["tpu.nodes.n20"]


def test_the_newer_of_a_wide_and_a_narrow_one_counts() -> None:
    faults = Faults()
    faults.inject("clock-skew", value="10")
    faults.inject("clock-skew", node="n", value="20")
    one, other = faults.find("clock-skew", node=NODE), faults.find("clock-skew", node=NODE + "2")
    assert one is not None and other is not None and (one.seconds, other.seconds) == (20.0, 10.0)


def test_only_the_named_place_is_taken_back() -> None:
    faults = Faults()
    for zone in (ZONE, OTHER):
        faults.inject("forbidden", zone=zone)
    assert faults.clear("forbidden", zone=ZONE) == 1
    assert not faults.find("forbidden", zone=ZONE) and faults.find("forbidden", zone=OTHER)
    with pytest.raises(FaultError, match="no fault"):
        faults.clear("earthquake")
