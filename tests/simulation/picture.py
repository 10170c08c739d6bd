"""The year as a picture: node hours of each day, used and idle, and what they cost beside simpler rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.simulation.report import Report

_USED, _IDLE, _OURS, _OTHERS = "#2b6cb0", "#f6ad55", "#2f855a", "#a0aec0"


def draw(folder: Path, found: Report, days: tuple[Sequence[float], Sequence[float], Sequence[float]]) -> Path:
    """Writes year.png; its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    busy, idle, usd = (_weekly(each) for each in days)
    weeks = range(1, len(busy) + 1)
    figure, (hours, money) = pyplot.subplots(2, 1, figsize=(11, 7.5), height_ratios=[3, 2], layout="constrained")
    hours.stackplot(weeks, busy, idle, colors=[_USED, _IDLE], labels=["used", "idle, kept warm"])
    hours.set_title(
        f"{found.days} days of a team: {found.calls:,} calls on {found.nodes:,} nodes, "
        f"{found.ours.busy_h / found.ours.node_h:.0%} of the time used, {found.leaked_h:.2f} h leaked",
        loc="left",
        fontweight="bold",
    )
    hours.set_ylabel("TPU node hours a week")
    hours.set_xlabel("week")
    hours.set_xlim(1, max(len(busy), 2))
    cost = hours.twinx()
    cost.plot(weeks, usd, color=_OURS, linewidth=1.5, label="dollars a week (list price)")
    cost.set_ylim(0, 1.3 * max(usd))
    cost.set_ylabel("dollars a week")
    handles = [pair for axes in (hours, cost) for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    hours.legend(*zip(*handles, strict=True), loc="upper left", ncols=3, frameon=False)
    hours.set_ylim(top=1.25 * max(one + other for one, other in zip(busy, idle, strict=True)))
    names = ["this launcher", *found.naive]
    sums = [found.ours, *found.naive.values()]
    # Points, not bars: on a logarithmic axis a length would say nothing.
    for row, one in enumerate(sums):
        money.plot(one.usd, row, "o", markersize=12, color=_OURS if row == 0 else _OTHERS)
        waiting = f"${one.usd:,.0f}, {one.wait_h:,.0f} h of waiting"
        killed = f", {one.killed:,} jobs killed" if one.killed else ""
        money.annotate(waiting + killed, (one.usd, row), (12, 0), textcoords="offset points", va="center")
    money.set_yticks(range(len(names)), names)
    money.set_ylim(len(names) - 0.5, -0.5)
    money.set_xscale("log")
    money.set_xlim(right=8 * max(one.usd for one in sums))
    money.grid(axis="x", alpha=0.3)
    money.set_xlabel("dollars a year, list price (logarithmic)")
    for axes in (hours, cost, money):
        axes.spines["top"].set_visible(False)
    money.spines["right"].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "year.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _weekly(days: Sequence[float]) -> list[float]:
    """Whole weeks; what is left of the last one is not drawn."""
    return [sum(days[at : at + 7]) for at in range(0, max(len(days) - 6, 1), 7)]
