"""`launcher init`: join a platform by the name of its control bucket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import json_option, print_json

if TYPE_CHECKING:
    from launcher.joining import Joined


@click.command()
@click.option("--bucket", metavar="NAME", default="", help="The platform's control bucket; its name ends in -control.")
@click.option("--terraform", metavar="FOLDER", default="", help="Where it was applied, instead of the bucket's name.")
@click.option(
    "--profile", "name", metavar="NAME", default="", help="What to call the profile; default: as the platform."
)
@click.option("--team", metavar="NAME", default="", help="Your team, where the platform has teams.")
@json_option
def init(bucket: str, terraform: str, name: str, team: str, as_json: bool) -> None:
    """Join a platform that Terraform made.

    Reads its platform.json with your own credentials and saves a profile; the first one becomes the default. Joining
    again updates what that file says and keeps what you set. With `eval "$(launcher sim env)"` or
    LAUNCHER_PROFILE=simulator it joins a platform that was applied to your simulator.
    """
    if bool(bucket) == bool(terraform):
        raise click.UsageError("Say which platform: --bucket NAME, or --terraform FOLDER where you applied it.")
    from launcher.joining import bucket_of, join

    joined = join(bucket or bucket_of(Path(terraform)), name=name, team=team)
    if as_json:
        print_json(_document(joined))
        return
    profile, file = joined.profile, joined.file
    simulated = "SIMULATED " if profile.simulated else ""
    team_words = f", team {joined.team}" if joined.team else ""
    print(f"joined {simulated}platform {file.platform} in project {file.project}{team_words}: profile {profile.name}")
    pools = [
        f"{name} ({pool.accelerator}{' spot' if pool.spot else ''}, {_nodes(pool.max_nodes)} at most)"
        for name, pool in sorted(file.pools.items())
    ]
    print(f"zones: {', '.join(file.zones)}; pools: {', '.join(pools) or 'none, so no limits'}")
    if file.nodes:
        print(f"nodes that are there already: {', '.join(f'{it.node} ({it.accelerator})' for it in file.nodes)}")
    print(f"next: {_next(joined)}")


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _next(joined: Joined) -> str:
    name = joined.profile.name
    chosen = os.environ.get("LAUNCHER_PROFILE")
    if chosen and chosen != name:
        return f"LAUNCHER_PROFILE={name} launcher doctor"
    return "launcher doctor" if chosen or joined.default else f"launcher profile use {name} && launcher doctor"


def _document(joined: Joined) -> dict[str, Any]:
    profile, file = joined.profile, joined.file
    return {
        "profile": profile.name,
        "path": str(joined.path),
        "default": joined.default,
        "platform": file.platform,
        "project": file.project,
        "team": joined.team or None,
        "zones": list(file.zones),
        "pools": sorted(file.pools),
        "nodes": [each.node for each in file.nodes],
        "simulated": profile.simulated,
    }
