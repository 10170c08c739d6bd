"""What the fine-tuning did, on the terminal; plain and unwrapped where the output is piped."""

from __future__ import annotations

import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

TRAINED_SHOWN = 6  # of 30; all are in --json
BEFORE_WIDTH, AFTER_WIDTH, BAR_WIDTH = 22, 160, 40  # characters


def show(result: dict[str, Any], timeline: dict[str, float]) -> None:
    """Print answers before and after, the loss, and where the time went (``timeline``: seconds per phase)."""
    console = Console(width=None if sys.stdout.isatty() else 250, highlight=False)
    trained = [answer for answer in result["answers"] if answer["wanted"] is not None]
    unseen = [answer for answer in result["answers"] if answer["wanted"] is None]
    exact = sum(answer["after"] == answer["wanted"] for answer in trained)
    console.print(
        f"\nGemma 3 ({result['model']}, {result['parameters'] / 1e6:,.2f} M parameters)"
        f" on {result['device']}, {len(trained)} pairs, {len(result['losses'])} epochs"
    )
    heading = f"Training prompts: {exact} of {len(trained)} answered word for word ({TRAINED_SHOWN} shown)"
    section(console, heading, answer_table(trained[:TRAINED_SHOWN]))
    section(console, "Prompts it never saw", answer_table(unseen))
    if result["model"] == "toy":
        console.print(
            f"\nA toy that has read nothing but these {len(trained)} pairs learns the slang, not the facts:"
            " other prompts get babble. --preset gemma3_1b starts from a model that knows facts."
        )
    section(console, "Loss per response token", loss_table(result["losses"], console))
    if timeline:
        section(console, "The call", time_table(timeline, console))
    section(console, "Inside user code", time_table(result["seconds"], console))


def section(console: Console, title: str, table: Table) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


def answer_table(answers: list[dict[str, str]]) -> Table:
    table = new_table("prompt", "before", "after")
    for answer in answers:
        before, after = clip(answer["before"], BEFORE_WIDTH), clip(answer["after"], AFTER_WIDTH)
        table.add_row(Text(answer["prompt"]), Text(before, style="dim"), Text(after))
    return table


def loss_table(losses: list[float], console: Console) -> Table:
    table = new_table("epoch", "loss", "")
    step = max(1, len(losses) // 8)
    for epoch in sorted({1, *range(step, len(losses) + 1, step), len(losses)}):
        loss = losses[epoch - 1]
        table.add_row(str(epoch), f"{loss:.4f}", bar(0, loss / max(losses), console))
    return table


def time_table(seconds: dict[str, float], console: Console) -> Table:
    table = new_table("phase", "seconds", "")
    total = sum(seconds.values())
    passed = 0.0
    for phase, duration in seconds.items():
        table.add_row(phase, f"{duration:.1f}", bar(passed / total, duration / total, console))
        passed += duration
    table.add_row("total", f"{total:.1f}", "")
    return table


def new_table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("epoch", "loss", "seconds") else "left")
    return table


def bar(start: float, length: float, console: Console) -> Text:
    """A bar from ``start``, both in parts of the whole width; what is not zero is seen."""
    mark = "━" if console.encoding.startswith("utf") else "#"
    return Text(" " * round(start * BAR_WIDTH) + mark * max(1, round(length * BAR_WIDTH)), style="cyan")


def clip(text: str, limit: int) -> str:
    """``text`` on one line, cut at ``limit`` characters."""
    line = " ".join(text.split()) or "(blank)"
    return line if len(line) <= limit else line[: limit - 3] + "..."
