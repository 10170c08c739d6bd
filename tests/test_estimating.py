"""What a call would cost, before anything is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import launcher
from launcher.config import Profile, save_profile
from launcher.errors import ConfigError
from launcher.estimating import Estimate, estimate, of_settings
from launcher.settings import resolve

PROFILE = Profile(
    name="lab", platform="p", project="project", zones=("us-central1-a", "us-east5-a"), bucket="bucket-1", owner="ada"
)
SHUTDOWN_S = 20 * 60.0  # what the node's own timer takes at most, after its idle time


def of(duration_s: float | None, count: int = 1, profile: Profile = PROFILE, **options: Any) -> Estimate:
    return of_settings(resolve({"accelerator": "v6e-8", **options}), profile, duration_s, count)


def test_an_estimate_is_the_use_and_at_most_the_idle_time_until_shutdown_too() -> None:
    found = of(7200.0)
    assert (found.usd_per_hour, found.usd) == (21.6, 43.2)
    assert found.usd_at_most == pytest.approx(21.6 * (7200 + 900 + SHUTDOWN_S) / 3600)
    assert str(found) == (
        "v6e-8, on demand, us-central1-a: $43.20 for 2 h at $21.60 an hour. With 35 min idle until shutdown at most "
        "$55.80 (list prices of 2026-10, not a bill)."
    )


def test_what_the_call_says_comes_before_the_profile() -> None:
    profile = dataclasses.replace(PROFILE, keep_warm_s=3600.0)
    assert of(3600.0, profile=profile).usd_at_most == pytest.approx(21.6 * (3600 + 3600 + SHUTDOWN_S) / 3600)
    cold = of(3600.0, profile=profile, keep_warm_s=0.0, zone="us-east5-a", spot=True)
    assert (cold.usd_per_hour, cold.keep_warm_s) == (9.72, 0.0)
    assert cold.usd_at_most == pytest.approx(9.72 * (3600 + SHUTDOWN_S) / 3600)


def test_without_a_duration_it_is_the_jobs_own_limit_that_counts() -> None:
    forever = of(None)
    assert forever.usd is None and forever.usd_at_most == pytest.approx(21.6 * 24)
    assert "at most $518.40 if it runs until its max_lifetime_s (24 h" in str(forever)
    limited = of(None, timeout_s=3600.0)
    assert limited.usd_at_most == pytest.approx(21.6 * (3600 + 900 + SHUTDOWN_S) / 3600)
    assert "timeout_s" in str(limited)


def test_no_node_lives_longer_than_its_lifetime() -> None:
    assert of(7200.0, max_lifetime_s=7500.0).usd_at_most == pytest.approx(21.6 * 7500 / 3600)


def test_several_nodes_cost_so_many_times_as_much() -> None:
    found = of(3600.0, count=3)
    assert found.usd == pytest.approx(64.8) and str(found).startswith("3 x v6e-8, on demand")


def test_an_unknown_price_is_told_as_unknown() -> None:
    found = of(3600.0, zone="me-west1-a")
    assert (found.usd_per_hour, found.usd, found.usd_at_most) == (None, None, None)
    assert str(found) == "v6e-8, on demand, me-west1-a: the list price is unknown. What is known: launcher accelerators"


def test_a_simulated_platform_is_told_as_such() -> None:
    assert "SIMULATED: nothing is paid" in str(of(3600.0, profile=dataclasses.replace(PROFILE, simulated=True)))


def test_a_function_is_estimated_with_its_own_options_on_its_own_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    save_profile(PROFILE)
    found = estimate(test_several_nodes_cost_so_many_times_as_much, {"accelerator": "v5e-4", "profile": "lab"}, 3600.0)
    assert (found.what, found.usd) == ("v5litepod-4, on demand, us-central1-a", pytest.approx(4.8))
    with pytest.raises(ConfigError, match="There is no profile 'lob'"):
        estimate(test_several_nodes_cost_so_many_times_as_much, {"profile": "lob"}, 3600.0)


@pytest.mark.parametrize("hours", [-2, 0, float("nan"), float("inf"), "2", True])
def test_a_time_that_is_none_is_refused(hours: Any) -> None:
    @launcher.run(accelerator="v6e-8")
    def train() -> None: ...

    with pytest.raises(ConfigError, match=r"estimate\(hours=.*a number above 0"):
        train.estimate(hours=hours)
