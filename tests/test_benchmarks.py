"""The benchmarks' own parts: the table, and that nothing of a run stays behind. No figure is judged here."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.sandbox import ProgramFailed, Sandbox, sandbox
from tests.benchmarks.startup import command, imports
from tests.benchmarks.table import HEADERS, Of, Row, cells, show

ROW = Row("walk", "s", 0.15, 0.1, "a bare walk", 0.05, Of.ABOVE_FLOOR, 3)


@pytest.mark.parametrize(
    "goal_of, goal, met, text",
    [
        (Of.MEASURED, 0.15, True, "0.15 s"),
        (Of.MEASURED, 0.14, False, "0.14 s"),
        (Of.ABOVE_FLOOR, 0.06, True, "floor + 0.06 s"),
        (Of.ABOVE_FLOOR, 0.04, False, "floor + 0.04 s"),
        (Of.RATIO, 1.6, True, "1.6 x floor"),
        (Of.RATIO, 1.4, False, "1.4 x floor"),
    ],
)
def test_a_goal_limits_one_figure(goal_of: Of, goal: float, met: bool, text: str) -> None:
    row = dataclasses.replace(ROW, goal_of=goal_of, goal=goal)
    assert (row.met, row.goal_text) == (met, text)


def test_a_missed_goal_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    missed = dataclasses.replace(ROW, what="crawl", measured=0.9)
    show([ROW, missed], as_json=False)
    out = capsys.readouterr().out
    header, first, second, *rest = out.splitlines()
    assert header.split() == " ".join(HEADERS).upper().split()
    assert "yes" in first and "NO" in second
    assert rest == ["", "1 of 2 goals met.", "missed: crawl"]


def test_json_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    show([dataclasses.replace(ROW, floor=0.0)], as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["measured"] == row["above_floor"] == 0.15 and row["ratio"] is None and row["met"] is False


def test_fast_rows_are_measured(tmp_path: Path) -> None:
    rows = [*imports(Sandbox(tmp_path), runs=1), *command(Sandbox(tmp_path), runs=1)]
    assert len(rows) == 3
    for row in rows:
        assert row.measured > 0 and row.floor > 0 and len(cells(row)) == len(HEADERS)


def test_nothing_of_a_sandbox_outlives_it() -> None:
    waiting = "import signal; print('ready', flush=True); signal.pause()"
    with sandbox() as place:
        process = subprocess.Popen(
            [sys.executable, "-c", waiting], env=place.env, stdout=subprocess.PIPE, start_new_session=True
        )
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            place.end()
            assert process.wait() == -signal.SIGTERM
    assert not place.folder.exists()


def test_a_program_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"(?s)ended with 3:.*out of luck"):
        Sandbox(tmp_path).run([sys.executable, "-c", "import sys; print('out of luck'); sys.exit(3)"])
