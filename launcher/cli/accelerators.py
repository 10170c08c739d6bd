"""`launcher accelerators`: the registry as a table. Needs no network and no profile."""

from __future__ import annotations

import click

from launcher.accelerators import Accelerator, Price, all_accelerators, price_per_chip_hour, priced_regions
from launcher.cli.output import json_option, print_json, print_table
from launcher.errors import ConfigError


@click.command()
@click.option("--generation", metavar="GEN", help="Only this one: v2, v3, v4, v5e, v5p, v6e.")
@click.option("--zone", metavar="ZONE", help="Prices of this zone or region; default: where it is cheapest.")
@json_option
def accelerators(generation: str | None, zone: str | None, as_json: bool) -> None:
    """List what can be asked for: chips, hosts, list price.

    List prices are indicative, in US dollars per hour for the whole slice, as of the month shown.
    """
    found = [each for each in all_accelerators() if generation in (None, each.generation)]
    if not found:
        known = ", ".join(dict.fromkeys(each.generation for each in all_accelerators()))
        raise ConfigError(f"No accelerator is of generation {generation!r}. There are: {known}.")
    if zone is not None and all(price_per_chip_hour(each, zone) is None for each in all_accelerators()):
        raise ConfigError(f"No list price is known for {zone!r}. Known regions: {', '.join(priced_regions())}.")
    if as_json:
        print_json([_document(each, zone) for each in found])
        return
    headers = ["name", "chips", "hosts", "memory", "runtime version", "on demand", "spot", "where", "as of"]
    print_table(headers, [_row(each, zone) for each in found], right=["chips", "hosts", "memory", "on demand", "spot"])


def _price(accelerator: Accelerator, zone: str | None, *, spot: bool) -> Price | None:
    """In the zone; without one in the cheapest region on demand, so that both prices are of one place."""
    if zone is not None:
        return price_per_chip_hour(accelerator, zone, spot)
    regions = [p for region in priced_regions() if (p := price_per_chip_hour(accelerator, region))]
    cheapest = min(regions, key=lambda price: price.usd_per_chip_hour, default=None)
    return None if cheapest is None else price_per_chip_hour(accelerator, cheapest.region, spot)


def _row(accelerator: Accelerator, zone: str | None) -> list[str]:
    on_demand, spot = (_price(accelerator, zone, spot=each) for each in (False, True))
    prices = [f"${p.usd_per_chip_hour * accelerator.chips:,.2f}/h" if p else "-" for p in (on_demand, spot)]
    where = [on_demand.region, on_demand.as_of] if on_demand else ["-", "-"]
    counts = [str(accelerator.chips), str(accelerator.hosts), f"{accelerator.hbm_gib} GiB"]
    return [accelerator.name, *counts, accelerator.default_runtime_version, *prices, *where]


def _document(accelerator: Accelerator, zone: str | None) -> dict[str, object]:
    keys = ("name", "generation", "chips", "hosts", "topology", "hbm_gib")
    prices = [p for spot in (False, True) if (p := _price(accelerator, zone, spot=spot))]
    return {
        **{key: getattr(accelerator, key) for key in keys},
        "runtime_version": accelerator.default_runtime_version,
        "list_prices": [
            {
                "usd_per_hour": round(price.usd_per_chip_hour * accelerator.chips, 2),
                **{key: getattr(price, key) for key in ("spot", "region", "as_of", "source")},
            }
            for price in prices
        ],
    }
