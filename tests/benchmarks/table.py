"""One measured figure beside its floor and its goal, and the table of them all."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any

from launcher.cli.output import print_json, print_table


class Of(enum.StrEnum):
    """Which figure a goal limits."""

    MEASURED = "measured"
    ABOVE_FLOOR = "above floor"
    RATIO = "ratio"


@dataclasses.dataclass(frozen=True)
class Row:
    """`measured` and `floor` are medians of `runs` taken in turns, in `unit`: "s", "MB" or "bytes".

    The floor is what the same thing costs without the launcher; `floor_is` says what that is.
    """

    what: str
    unit: str
    measured: float
    floor: float
    floor_is: str
    goal: float
    goal_of: Of
    runs: int

    @property
    def above_floor(self) -> float:
        return self.measured - self.floor

    @property
    def ratio(self) -> float:
        return self.measured / self.floor if self.floor else math.inf

    @property
    def met(self) -> bool:
        figures = {Of.MEASURED: self.measured, Of.ABOVE_FLOOR: self.above_floor, Of.RATIO: self.ratio}
        return figures[self.goal_of] <= self.goal

    @property
    def goal_text(self) -> str:
        if self.goal_of is Of.RATIO:
            return f"{self.goal:g} x floor"
        return f"{'floor + ' if self.goal_of is Of.ABOVE_FLOOR else ''}{self.goal:g} {self.unit}"


HEADERS = ("what", "measured", "floor", "floor is", "ratio", "above floor", "goal", "met", "runs")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADERS."""
    return (
        row.what,
        _figure(row.measured, row.unit),
        _figure(row.floor, row.unit),
        row.floor_is,
        f"{row.ratio:.2f}" if row.ratio < 100 else f"{row.ratio:.0f}",
        _figure(row.above_floor, row.unit),
        row.goal_text,
        "yes" if row.met else "NO",
        str(row.runs),
    )


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.3f} s"
    return f"{value:,.1f} {unit}" if unit == "MB" else f"{value:,.0f} {unit}"


def show(rows: Sequence[Row], *, as_json: bool) -> None:
    """The table on a terminal, aligned text in a pipe, or JSON."""
    if as_json:
        print_json([_document(row) for row in rows])
        return
    right = ("measured", "floor", "ratio", "above floor", "runs")
    print_table(HEADERS, [cells(row) for row in rows], right=right, fold=("what", "floor is"))
    missed = [row.what for row in rows if not row.met]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} goals met." + "".join(f"\nmissed: {what}" for what in missed))


def _document(row: Row) -> dict[str, Any]:
    return {
        **dataclasses.asdict(row),
        "above_floor": row.above_floor,
        "ratio": row.ratio if math.isfinite(row.ratio) else None,
        "met": row.met,
    }
