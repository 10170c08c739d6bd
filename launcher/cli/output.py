"""How commands print: JSON, tables on a terminal, plain lines everywhere else."""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from launcher.errors import ApiDisabled, ConfigError, LauncherError, PermissionDenied
from launcher.setting_types import ZONE, duration_s
from launcher.terminal import clean

if TYPE_CHECKING:
    from launcher.settings import Settings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def profile_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--profile: where the command looks. What is refused there tells all that is missing."""

    @functools.wraps(command)
    def explained(*arguments: Any, profile: str | None, **options: Any) -> Any:
        try:
            return command(*arguments, profile=profile, **options)
        except (PermissionDenied, ApiDisabled) as exc:
            raise _explained(profile, exc) from exc.__cause__

    option = click.option(
        "--profile", metavar="NAME", help="Where to look; default: LAUNCHER_PROFILE or the default profile."
    )
    return option(explained)


def _explained(profile: str | None, error: PermissionDenied | ApiDisabled) -> LauncherError:
    from launcher.config import load_profile
    from launcher.fleet import doctor
    from launcher.fleet.platform import platform_of

    try:
        platform = platform_of(load_profile(profile))
    except LauncherError:  # so it was refused before there was one
        return error
    return doctor.explain(platform, error)


def wanted_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for what hardware is meant; wanted_settings makes settings of them."""
    for option in (
        click.option("--spot", is_flag=True, help="Capacity that Google may take back."),
        click.option("--zone", metavar="ZONE[,ZONE]", help="Where, in this order; default: the profile's zones."),
        click.option("--accelerator", metavar="NAME", help="Such as v5litepod-8: launcher accelerators"),
    ):
        command = option(command)
    return command


def wanted_settings(**values: Any) -> Settings:
    """The settings of a call that asks for this hardware. ConfigError lists what is wrong, by the options' names."""
    from launcher.settings import resolve

    if values.get("accelerator") is None and values.get("pool") is None:
        raise click.UsageError("Missing option '--accelerator'.", click.get_current_context())
    try:
        return resolve({name: None if value is False else value for name, value in values.items()})
    except ConfigError as exc:
        raise ConfigError([each.replace("@launcher.run: ", "--") for each in exc.problems]) from None


class Duration(click.ParamType[float]):
    """Seconds, written as `30m`, `2h` or `1h30m`."""

    name = "TIME"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return duration_s(str(value))
        except ValueError as exc:
            self.fail(f"{value!r} {exc}.", param, ctx)


class Zone(click.ParamType[str]):
    """A zone's name. Whether there is such a zone is Google's to say."""

    name = "ZONE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not ZONE.fullmatch(value):
            self.fail(f"{value!r} is no zone's name such as 'us-central1-a'.", param, ctx)
        return value


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
