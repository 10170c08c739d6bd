"""How commands print: JSON, tables on a terminal, plain lines everywhere else."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from launcher.terminal import clean

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
profile_option = click.option(
    "--profile", metavar="NAME", help="Where to look; default: LAUNCHER_PROFILE or the default profile."
)


class Group(click.Group):
    """`default`: the command that is meant where none is named."""

    def __init__(self, *args: Any, default: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it, with the default command put in where an option or nothing comes first."""
        if self.default and (not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command and flushes: a closed pipe shows here, not in the interpreter's last moments."""
        value = super().invoke(ctx)
        sys.stdout.flush()
        return value


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    fold: Iterable[str] = (),
    plain: bool = False,
) -> None:
    """Rows under headers. `right`: headers of columns of numbers. `fold`: columns that give way on a terminal.

    A pipe gets columns parted by two spaces, whatever their width; a terminal a table as wide as it is, unless
    `plain` (for very many rows, and for paths, which are copied).
    """
    cells = [[_CONTROL.sub("?", cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and not plain:
        _print_rich(headers, cells, set(right), set(fold))
        return
    table = [[header.upper() for header in headers], *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = (
            cell.rjust(width) if header in right else cell.ljust(width)
            for cell, width, header in zip(row, widths, headers, strict=True)
        )
        print("  ".join(padded).rstrip())


def _print_rich(headers: Sequence[str], rows: list[list[str]], right: set[str], fold: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(
            header,
            justify="right" if header in right else "left",
            overflow="fold",
            no_wrap=header not in fold if fold else False,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, highlight=False).print(table)


def notice(line: str) -> None:
    """What a person should know and a program need not, on standard error."""
    sys.stderr.write(f"launcher: {clean(line)}\n")


def human_bytes(size: int) -> str:
    """`1.2 MB`, in powers of ten as disks and buckets are counted."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def human_age(seconds: float) -> str:
    """`42 s`, `7 min`, `3.5 h`, `12 d`: since when, to one look."""
    seconds = max(seconds, 0.0)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} d"


def iso_time(epoch_s: float) -> str:
    """UTC, to the second: `2026-01-31T09:30:15Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))
