"""A short year: nothing leaks, the sums agree, and a leak would be seen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.simulation import __main__ as simulation
from tests.simulation.report import per_day, report
from tests.simulation.year import START, Year

DAYS = 14


@pytest.fixture(scope="module")
def year() -> Year:
    return simulation.play(DAYS, seed=7)


def test_nothing_leaks_and_every_call_has_an_end(year: Year) -> None:
    found = report(DAYS, year.calls, year.lives)
    assert found.leaked_h == 0.0
    assert sum(found.fates.values()) == found.calls > 200
    assert set(found.fates) <= {"succeeded", "its client died", "its worker died", "preempted", "lost before it ran"}
    assert sum(found.nodes_by.values()) == found.nodes
    assert found.warm_starts > found.calls / 4


def test_the_sums_agree(year: Year) -> None:
    found = report(DAYS, year.calls, year.lives)
    busy, idle, usd = per_day(DAYS + 2, year.lives, START)
    assert sum(busy) == pytest.approx(found.ours.busy_h)
    assert sum(busy) + sum(idle) == pytest.approx(found.ours.node_h)
    assert sum(usd) == pytest.approx(found.ours.usd)
    ran = sum(call.ended - call.started for call in year.calls if call.started)
    assert ran / 3600 == pytest.approx(found.ours.busy_h)
    assert found.ours.usd < found.naive["delete 4 h after creation"].usd < found.naive["keep for ever"].usd
    assert found.ours.wait_h < found.naive["delete after each call"].wait_h


def test_no_node_has_two_jobs_at_once(year: Year) -> None:
    for life in year.lives:
        spans = sorted(life.busy_spans)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def test_with_no_defence_the_leak_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(simulation, "outages", lambda days, seed, per_month, mean_s: [(0.0, (DAYS + 0.5) * 86400)])
    monkeypatch.setattr(Year, "_tick", lambda self, resource: None)
    monkeypatch.setattr("tests.simulation.year._overlap", lambda one, other: 0.0)
    monkeypatch.setattr(Year, "_api_is_down", lambda self: False)
    assert simulation.main(["--days", str(DAYS), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["leaked_h"] > 10


def test_the_command_prints_its_report_and_draws_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulation.main(["--days", str(DAYS), "--seed", "7", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "leaked (idle beyond 35 min)           0.00" in said and "keep for ever" in said
    assert (tmp_path / "year.png").read_bytes().startswith(b"\x89PNG")
