"""`launcher costs` and `launcher estimate`: list prices, of what was used and of what would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from launcher.accelerators import PRICES_AS_OF, PRICES_SOURCE
from launcher.cli.output import (
    Duration,
    iso_time,
    json_option,
    notice,
    print_json,
    print_table,
    profile_option,
    wanted_options,
    wanted_settings,
)

if TYPE_CHECKING:
    from launcher.fleet.costs import Costs, NodeCost


@click.command()
@click.option("--since", "since_s", type=Duration(), default="7d", help="How far back (default 7d).")
@click.option("--all-owners", is_flag=True, help="Everybody's nodes and jobs, not only yours.")
@profile_option
@json_option
def costs(since_s: float, all_owners: bool, profile: str | None, as_json: bool) -> None:
    """Sum up what your nodes and jobs cost.

    From the launcher's own records, at list prices: hours that nodes were there, busy and idle. Not a bill.
    """
    from launcher.config import load_profile
    from launcher.fleet.costs import sum_costs
    from launcher.fleet.platform import platform_of

    platform = platform_of(load_profile(profile))
    simulated = platform.profile.simulated
    found = sum_costs(platform, since_s, all_owners=all_owners)
    if as_json:
        print_json(_document(found, simulated))
    elif not found.nodes:
        notice(f"no nodes since {iso_time(found.since)}")
    else:
        headers = ["node", "zone", "accelerator", "jobs", "hours", "busy", "idle", "list price"]
        rows = [_row(each) for each in found.nodes]
        total = [_hours(seconds) for seconds in (found.lived_s, found.busy_s, found.idle_s)]
        rows.append(["total", "", "", str(sum(each.jobs for each in found.nodes)), *total, _usd(found.usd)])
        print_table(headers, rows, right=headers[3:], fold=["zone", "accelerator"])
        unknown = sum(each.usd is None for each in found.nodes)
        without = f" {unknown} of unknown price left out." if unknown else ""
        paid = "SIMULATED: nothing was paid. " if simulated else ""
        print(f"{paid}Since {iso_time(found.since)}, at list prices of {PRICES_AS_OF}, not a bill.{without}")


@click.command()
@wanted_options
@click.option("--for", "for_s", type=Duration(), help="How long it is used; default: until its max lifetime.")
@click.option("--count", type=click.IntRange(1), default=1, metavar="N", help="How many nodes (default 1).")
@profile_option
@json_option
def estimate(for_s: float | None, count: int, profile: str | None, as_json: bool, **wanted: Any) -> None:
    """Say what nodes would cost at list prices."""
    from launcher.config import load_profile
    from launcher.estimating import of_settings
    from launcher.fleet import rules
    from launcher.fleet.platform import platform_of

    settings = wanted_settings(**wanted)
    chosen = load_profile(profile, cloud_only=settings.cloud_only)
    found = of_settings(rules.settle(platform_of(chosen), settings), chosen, for_s, count)
    if as_json:
        print_json({**vars(found), "usd": found.usd, "usd_at_most": found.usd_at_most})
    else:
        print(found)


COMMANDS = (costs, estimate)


def _row(node: NodeCost) -> list[str]:
    hours = [_hours(seconds) for seconds in (node.lived_s, node.busy_s, node.idle_s)]
    hardware = f"{node.accelerator}{' spot' if node.spot else ''}"
    return [node.name, node.zone, hardware, str(node.jobs), *hours, _usd(node.usd)]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}"


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else f"${usd:,.2f}"


def _document(found: Costs, simulated: bool) -> dict[str, Any]:
    return {
        "since": iso_time(found.since),
        "simulated": simulated,
        "list_price": {"as_of": PRICES_AS_OF, "source": PRICES_SOURCE},
        "hours": found.lived_s / 3600,
        "busy_hours": found.busy_s / 3600,
        "idle_hours": found.idle_s / 3600,
        "usd": found.usd,
        "nodes": [
            {**vars(each), "start": iso_time(each.start), "idle_s": each.idle_s, "usd": each.usd}
            for each in found.nodes
        ],
        "jobs": [vars(each) for each in found.jobs],
    }
