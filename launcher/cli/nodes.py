"""`launcher nodes`: what this platform has, and how to get rid of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import Group, human_age, iso_time, json_option, notice, print_json, print_table, profile_option

if TYPE_CHECKING:
    from launcher.fleet.inventory import NodeInfo


@click.group(cls=Group, default="list", invoke_without_command=True)
def nodes() -> None:
    """List nodes, or delete one. Without a command: list."""


@nodes.command(name="list")
@profile_option
@json_option
def list_command(profile: str | None, as_json: bool) -> None:
    """List this platform's nodes: state, who uses them, list price."""
    from launcher.config import load_profile
    from launcher.fleet.inventory import list_nodes
    from launcher.fleet.platform import platform_of

    platform = platform_of(load_profile(profile))
    found = list_nodes(platform)
    simulated = platform.profile.simulated
    if as_json:
        print_json([_document(each, simulated) for each in found])
    elif not found:
        notice(f"no nodes of platform {platform.profile.platform} (profile {platform.profile.name})")
    else:
        now = time.time()
        headers = ["name", "zone", "accelerator", "state", "owner", "lease", "age", "per hour"]
        rows = [_row(each, simulated, now) for each in found]
        print_table(headers, rows, right=["age", "per hour"], fold=["zone", "state", "lease"])


@nodes.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when somebody else's job uses it; the job is lost.")
@profile_option
@json_option
def down(name: str, force: bool, profile: str | None, as_json: bool) -> None:
    """Delete node NAME. A job of yours that uses it is cancelled first."""
    from launcher.config import load_profile
    from launcher.fleet.inventory import delete_node
    from launcher.fleet.platform import platform_of
    from launcher.job import attach

    def cancel_job(job_id: str) -> None:
        attach(job_id, profile).cancel()

    platform = platform_of(load_profile(profile))
    gone, zone, job_id = delete_node(platform, name, force=force, cancel_job=cancel_job, tell=notice)
    if as_json:
        print_json({"name": gone, "zone": zone, "cancelled_job": job_id or None})
    else:
        print(f"node {gone} is gone")


def _row(node: NodeInfo, simulated: bool, now: float) -> list[str]:
    spot = " spot" if node.spot else ""
    price = "unknown" if node.usd_per_hour is None else f"${node.usd_per_hour:,.2f}"
    return [
        node.name,
        node.zone,
        f"{node.accelerator or '-'}{spot}",
        node.words,
        node.owner or "-",
        node.lease_words,
        human_age(now - node.created) if node.created else "-",
        "SIMULATED" if simulated else price,
    ]


def _document(node: NodeInfo, simulated: bool) -> dict[str, Any]:
    document = {**vars(node), "lease": node.lease_state, "simulated": simulated}
    document["created"] = iso_time(node.created) if node.created else None
    del document["lease_state"]
    return document
