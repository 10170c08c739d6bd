from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.accelerators import Accelerator, all_accelerators, hourly_usd, parse, price_per_chip_hour
from launcher.errors import ConfigError

ALL = all_accelerators()
accelerators = st.sampled_from(ALL)


def problem(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(name)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@given(accelerators)
def test_every_name_means_itself_in_any_case_and_with_the_prefix_people_add(each: Accelerator) -> None:
    for spelling in (each.name, each.name.upper(), f"tpu-{each.name}", f" {each.name}\n"):
        assert parse(spelling) is each


@given(accelerators)
def test_hosts_chips_and_topology_of_every_slice_agree(each: Accelerator) -> None:
    assert math.prod(int(side) for side in each.topology.split("x")) == each.chips
    assert each.hosts * each.chips_per_host == each.chips
    assert each.chips_per_host in ({1, 4, 8} if each.generation in ("v5e", "v6e") else {4})
    assert each.chips_per_host == 4 or each.hosts == 1
    assert each.hbm_gib == each.chips * each.hbm_gib_per_chip


@given(accelerators)
def test_the_number_in_a_name_counts_chips_or_tensorcores(each: Accelerator) -> None:
    per_chip = 1 if each.generation in ("v5e", "v6e") else 2
    assert int(each.name.rpartition("-")[2]) == each.chips * per_chip


def test_names_are_unique_and_sizes_grow() -> None:
    assert len({each.name for each in ALL}) == len(ALL)
    generations = list(dict.fromkeys(each.generation for each in ALL))
    assert generations == ["v2", "v3", "v4", "v5e", "v5p", "v6e"]
    assert list(ALL) == sorted(ALL, key=lambda each: (generations.index(each.generation), each.chips))


@pytest.mark.parametrize(
    ("name", "generation", "chips", "hosts", "chips_per_host", "topology", "runtime_version"),
    [
        ("v2-8", "v2", 4, 1, 4, "2x2", "tpu-ubuntu2204-base"),
        ("v2-512", "v2", 256, 64, 4, "16x16", "tpu-ubuntu2204-base"),
        ("v3-2048", "v3", 1024, 256, 4, "32x32", "tpu-ubuntu2204-base"),
        ("v4-8", "v4", 4, 1, 4, "2x2x1", "tpu-ubuntu2204-base"),
        ("v4-8192", "v4", 4096, 1024, 4, "16x16x16", "tpu-ubuntu2204-base"),
        ("v5litepod-1", "v5e", 1, 1, 1, "1x1", "v2-alpha-tpuv5-lite"),
        ("v5litepod-4", "v5e", 4, 1, 4, "2x2", "v2-alpha-tpuv5-lite"),
        ("v5litepod-8", "v5e", 8, 1, 8, "2x4", "v2-alpha-tpuv5-lite"),
        ("v5litepod-16", "v5e", 16, 4, 4, "4x4", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v5p", 4, 1, 4, "2x2x1", "v2-alpha-tpuv5"),
        ("v5p-32", "v5p", 16, 4, 4, "2x2x4", "v2-alpha-tpuv5"),
        ("v5p-768", "v5p", 384, 96, 4, "4x8x12", "v2-alpha-tpuv5"),
        ("v5p-12288", "v5p", 6144, 1536, 4, "16x16x24", "v2-alpha-tpuv5"),
        ("v6e-8", "v6e", 8, 1, 8, "2x4", "v2-alpha-tpuv6e"),
        ("v6e-256", "v6e", 256, 64, 4, "16x16", "v2-alpha-tpuv6e"),
    ],
)
def test_shapes_as_google_documents_them(
    name: str,
    generation: str,
    chips: int,
    hosts: int,
    chips_per_host: int,
    topology: str,
    runtime_version: str,
) -> None:
    each = parse(name)
    assert (each.name, each.generation, each.chips) == (name, generation, chips)
    assert (each.hosts, each.chips_per_host, each.topology) == (hosts, chips_per_host, topology)
    assert each.default_runtime_version == runtime_version


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("v5e-1", "v5litepod-1"),
        ("tpu-v5e-1", "v5litepod-1"),
        ("TPU_V5E_8", "v5litepod-8"),
        ("v5lite-4", "v5litepod-4"),
        ("v5-lite-4", "v5litepod-4"),
        ("tpu-v5litepod-16", "v5litepod-16"),
        ("trillium-8", "v6e-8"),
        ("tpu-trillium-8", "v6e-8"),
        ("TPUv6e-8", "v6e-8"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert parse(alias).name == name


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [
        ("v5litepod-2", "Did you mean 'v5litepod-1' or 'v5litepod-4'?"),
        ("v5e-3", "Did you mean 'v5litepod-1' or 'v5litepod-4'?"),
        ("v5e-0", "Did you mean 'v5litepod-1'?"),
        ("v5e-1024", "Did you mean 'v5litepod-256'?"),
        ("v5p-4", "Did you mean 'v5p-8'?"),
        ("v4-12", "Did you mean 'v4-8' or 'v4-16'?"),
        ("v3-16", "Did you mean 'v3-8' or 'v3-32'?"),
        ("v5p-8576", "Did you mean 'v5p-8448' or 'v5p-8704'?"),  # 67 cubes fit into no box that Google makes
        ("v5e", "Did you mean 'v5litepod-1'?"),
        ("v5litpod-8", "Did you mean 'v5litepod-8'?"),
        ("trilium-4", "Did you mean 'v6e-4'?"),
        ("v6-8", "Did you mean 'v6e-8'?"),
        ("v5e-8x", "Did you mean 'v5litepod-"),
        ("nvidia-h100-8", "Examples: 'v5litepod-8'"),
        ("", "Examples: 'v5litepod-8'"),
        ("-8", "Examples: 'v5litepod-8'"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest_right_one(wrong: str, suggestion: str) -> None:
    message = problem(wrong)
    assert suggestion in message
    assert repr(wrong) in message
    assert "launcher accelerators" in message


def test_an_ambiguous_name_suggests_each_thing_it_may_mean() -> None:
    message = problem("v5-8")
    assert "'v5litepod-8'" in message
    assert "'v5p-8'" in message


def test_tensorcore_numbers_are_explained() -> None:
    assert "no v5p slice has 4 TensorCores (two per chip)" in problem("v5p-4")
    assert "no v5e slice has 2 chips." in problem("v5litepod-2")


@pytest.mark.parametrize("name", ["tpu7x-8", "TPU7x-8", "tpu-v7x-8", "v7-4", "ironwood", "ironwood-64"])
def test_tpu7x_is_refused_with_the_reason(name: str) -> None:
    message = problem(name)
    assert "not in the Cloud TPU API" in message
    assert "GKE and Compute Engine" in message
    assert "'v6e-8'" in message


@pytest.mark.parametrize("name", [8, None, b"v5e-8", ("v5e-8",)])
def test_anything_but_a_string_is_refused(name: object) -> None:
    assert "must be a string such as 'v5litepod-8'" in problem(name)  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_any_text_is_an_accelerator_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse(text) in ALL


@given(st.sampled_from(["v2", "v3", "v4", "v5litepod", "v5p", "v6e"]), st.integers(0, 20_000))
def test_every_suggested_name_is_right(prefix: str, number: int) -> None:
    try:
        parse(f"{prefix}-{number}")
    except ConfigError as error:
        suggested = str(error).partition("Did you mean ")[2].partition("?")[0].split(" or ")
        numbers = [int(parse(each.strip("'")).name.rpartition("-")[2]) for each in suggested]
        assert numbers == sorted(numbers)
        assert numbers[0] < number or number < numbers[-1]


def test_prices_by_zone_or_region() -> None:
    v6e = parse("v6e-8")
    price = price_per_chip_hour(v6e, "us-central1-b")
    assert price is not None
    assert (price.usd_per_chip_hour, price.region, price.spot) == (2.70, "us-central1", False)
    assert price.as_of
    assert price.source
    assert price_per_chip_hour(v6e, "us-central1") == price
    assert price_per_chip_hour(v6e, "us-central1-ai1a") == price
    assert hourly_usd(v6e, "us-central1-b") == 21.60
    assert hourly_usd(v6e, "us-central1-b", spot=True) == 4.35
    assert hourly_usd(parse("v5p-8"), "europe-west4-b") == 17.01


def test_single_host_and_pod_slices_of_old_generations_differ_in_price() -> None:
    assert hourly_usd(parse("v3-8"), "europe-west4-a") == 8.80
    assert hourly_usd(parse("v3-32"), "europe-west4-a") == 32.00


@pytest.mark.parametrize("place", ["us-west4-a", "mars-north1-a", "", "us", "us-central1-b-c"])
def test_an_unknown_price_is_none_never_a_guess(place: str) -> None:
    assert price_per_chip_hour(parse("v5p-8"), place) is None
    assert hourly_usd(parse("v5p-8"), place) is None


def test_an_unknown_spot_price_is_not_the_other_price() -> None:
    assert hourly_usd(parse("v2-8"), "europe-west4-a") == 4.96
    assert hourly_usd(parse("v2-8"), "europe-west4-a", spot=True) is None


@given(accelerators, st.sampled_from(["us-central1-a", "us-east5-a", "europe-west4-a", "us-central2-b"]))
def test_spot_is_cheaper_than_on_demand(each: Accelerator, zone: str) -> None:
    spot = hourly_usd(each, zone, spot=True)
    if spot is not None:
        on_demand = hourly_usd(each, zone)
        assert on_demand is not None
        assert 0 < spot < on_demand


def test_importing_costs_no_more_than_it_must() -> None:
    program = "import sys, launcher.accelerators; print('difflib' in sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-S", "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
