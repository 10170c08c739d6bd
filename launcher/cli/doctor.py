"""`launcher doctor`: what keeps this platform from running jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launcher.cli.output import Zone, json_option, print_json, profile_option
from launcher.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.fleet.doctor import Check

_INDENT = " " * 22


@click.command()
@click.option(
    "--zone", "zones", type=Zone(), metavar="Z", multiple=True, help="Look there instead of in the profile's zones."
)
@click.option("--accelerator", metavar="NAME", help="Whether this one can be had.")
@profile_option
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, zones: tuple[str, ...], accelerator: str | None, profile: str | None, as_json: bool
) -> None:
    """Say what keeps jobs from running.

    Looks at the profile and its credentials, APIs, permissions, the buckets, zones, quota, the budget, the clock and
    nodes that nobody uses. Each problem comes with the commands that mend it; exit 1 when there is one.
    """
    checks = []
    for check in _checks(profile, zones, accelerator):
        checks.append(check)
        if not as_json:
            lines = [*check.text.splitlines(), *(f"  {fix}" for fix in check.fixes)]
            click.echo(f"{check.verdict.value:8} {check.name:12} " + f"\n{_INDENT}".join(map(clean, lines)))
    if as_json:
        print_json([vars(check) for check in checks])
    if any(check.verdict == "problem" for check in checks):
        ctx.exit(1)


def _checks(profile: str | None, zones: tuple[str, ...], accelerator: str | None) -> Iterator[Check]:
    from launcher.accelerators import parse
    from launcher.config import load_profile
    from launcher.errors import LauncherError
    from launcher.fleet.doctor import Check, Verdict, examine
    from launcher.fleet.platform import platform_of

    wanted = parse(accelerator) if accelerator else None
    try:
        platform = platform_of(load_profile(profile))
    except LauncherError as exc:
        yield Check("profile", Verdict.PROBLEM, str(exc))
        return
    yield from examine(platform, zones=zones, accelerator=wanted)
