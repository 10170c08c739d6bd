"""What a call's record asks for: its own settings, else the platform's."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from launcher import submission
from launcher.config import Profile
from launcher.errors import ConfigError
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.request import of_job
from launcher.records.jobs import JobRecord
from launcher.settings import resolve
from launcher.shipping.packing import Packed
from tests.fleet.fakes import NOTHING, ZONE

PROFILE = Profile(name="team", platform="p", project="project", zones=(ZONE,), bucket="b", owner="ada")


def record(monkeypatch: pytest.MonkeyPatch, profile: Profile = PROFILE, **options: Any) -> JobRecord:
    monkeypatch.setattr(submission, "agent_file", lambda: AgentFile("0" * 64, b""))
    local: Any = SimpleNamespace(blob=NOTHING)
    files: Any = None
    packed = Packed("3.11", local, None, local, local, local, None, ".", (), "", {}, {}, (), files)
    return submission._record(profile, resolve(options), packed, record, 0.0)


def test_the_platform_says_how_long_a_node_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    job = record(monkeypatch)
    assert (job.zones, job.keep_warm_s, job.max_lifetime_s) == ((ZONE,), 900.0, 86400.0)
    profile = dataclasses.replace(PROFILE, keep_warm_s=60.0, max_lifetime_s=7200.0)
    job = record(monkeypatch, profile)
    assert (job.keep_warm_s, job.max_lifetime_s) == (60.0, 7200.0)
    job = record(monkeypatch, profile, keep_warm_s=0, max_lifetime_s=100)
    assert (job.keep_warm_s, job.max_lifetime_s) == (0.0, 100.0)


def test_what_a_call_asks_for_reaches_the_request_for_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    zones = ("us-east5-a", "us-west4-a")
    asked = of_job(record(monkeypatch, zone=zones, spot=True, spot_fallback=True), 1)
    assert (asked.zones, asked.spot, asked.spot_fallback, asked.keep_warm_s) == (zones, True, True, 900.0)
    assert of_job(record(monkeypatch, reservation="r"), 1).reservation == "r"
    assert record(monkeypatch, node="mine").node == "mine"


def test_a_job_that_would_outlive_its_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(PROFILE, max_lifetime_s=100.0)
    with pytest.raises(ConfigError, match="timeout_s = 200 is longer than max_lifetime_s = 100 of profile 'team'"):
        record(monkeypatch, short, timeout_s=200)
    assert record(monkeypatch, short, timeout_s=200, max_lifetime_s=300).timeout_s == 200
    assert record(monkeypatch, short, timeout_s=200, node="mine").timeout_s == 200
