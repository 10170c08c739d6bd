"""The README's table of what an idle platform costs: its lines add up, and to less than a dollar."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.request
from typing import Any

import pytest
import requests

from launcher.cloud.storage import GcsBucket
from launcher.config import load_profile
from launcher.fleet.platform import Platform
from launcher.fleet.reaper import reap
from launcher.records.paths import PLATFORM
from launcher.records.policy import PolicySettings
from tests.terraform.harness import ROOT, TERRAFORM

README = (TERRAFORM / "README.md").read_text(encoding="utf-8")
PASSES = 30 * 24 * 12  # a month's, one every five minutes


def rows() -> list[list[str]]:
    section = README.split("## What an idle platform costs\n")[1].split("\n## ")[0]
    first_table = next(part for part in section.split("\n\n") if part.startswith("|"))
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in first_table.splitlines()[2:]]
    assert len(found) > 10
    return found


def cents(cell: str) -> int:
    found = re.fullmatch(r"(?:\*\*)?\$(\d+)\.(\d\d)(?:\*\*)?", cell)
    assert found, cell
    return int(found[1]) * 100 + int(found[2])


def test_the_lines_add_up_to_less_than_a_dollar() -> None:
    *lines, total = rows()
    for column in (3, 4):
        assert sum(cents(line[column]) for line in lines) == cents(total[column])
    assert cents(total[4]) < 100


def test_what_is_free_costs_no_more_than_what_is_not() -> None:
    assert [line[0] for line in rows() if cents(line[4]) > cents(line[3])] == []


def test_every_line_with_a_price_says_where_it_stands() -> None:
    assert [line[0] for line in rows()[:-1] if not re.fullmatch(r"[a-z-]+/[a-z-]*pricing", line[5])] == []


def test_the_overview_says_the_same() -> None:
    said = re.findall(r"costs about (\$\d+\.\d\d) a month", (ROOT / "docs/platform.md").read_text(encoding="utf-8"))
    assert [cents(each) for each in said] == [cents(rows()[-1][4])]


def test_a_pass_asks_cloud_storage_as_often_as_is_counted(
    simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in simulator.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    profile = dataclasses.replace(load_profile(), platform="costs", bucket="costs-jobs", control_bucket="costs-control")
    for bucket in (profile.bucket, profile.control_bucket):
        body = json.dumps({"name": bucket}).encode()
        url = f"{profile.storage_endpoint}/storage/v1/b?project={profile.project}"
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).close()
    document = {key: getattr(profile, key) for key in ("platform", "project", "zones", "bucket", "control_bucket")}
    control = GcsBucket(profile.control_bucket, profile.storage_endpoint, credentials=profile.credentials)
    assert control.create(PLATFORM, json.dumps({"schema": 1, **document}).encode()) is not None

    asked: list[str] = []
    request = requests.Session.request

    def counted(session: requests.Session, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        if "/storage/v1/b/" in url:
            asked.append("read" if "/o/" in url else "list")
        return request(session, method, url, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "request", counted)
    zone = dataclasses.replace(profile, zones=profile.zones[:1])
    assert reap(Platform(zone), PolicySettings()).errors == ()
    said = {
        line[0]: int(line[2].split(":")[0].replace(",", ""))
        for line in rows()
        if line[0].startswith("Cloud Storage, ") and line[2][0].isdecimal()
    }
    assert said == {
        "Cloud Storage, lists and writes": asked.count("list") * PASSES,
        "Cloud Storage, reads": asked.count("read") * PASSES,
    }
