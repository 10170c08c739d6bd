"""`launcher reap` and `launcher unfreeze`: what the platform's functions do, by hand."""

from __future__ import annotations

import click

from launcher.cli.output import Zone, iso_time, json_option, notice, print_json, profile_option


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--zone", "zones", type=Zone(), metavar="Z", multiple=True, help="Only there; can be repeated.")
@profile_option
@json_option
@click.pass_context
def reap(ctx: click.Context, dry_run: bool, zones: tuple[str, ...], profile: str | None, as_json: bool) -> None:
    """Delete nodes that nobody uses any more.

    One pass of the idle shutdown: what is deleted, and why, follows from its rules alone. It is safe at any time. Exit
    1 when something could not be looked at or deleted. A GKE cluster of the platform is looked at too, unless --zone
    says where to look: "mark" is the first time that something is seen idle.
    """
    from launcher.config import load_profile
    from launcher.fleet import access, clusters, reaper
    from launcher.fleet.platform import platform_of

    platform = platform_of(load_profile(profile))
    told: list[reaper.Entry] = []
    report = reaper.reap(platform, platform.profile.policy, zones=zones, dry_run=dry_run, log=told.append)
    acted, errors = report.acted, report.errors
    if not zones:
        report = clusters.reap_registered(platform, dry_run=dry_run, log=told.append)
        acted, errors = acted + report.acted, errors + report.errors
    if as_json:
        print_json({"dry_run": dry_run, "decisions": [vars(each) for each in acted], "errors": errors})
    for each in () if as_json else acted:
        print(f"{'would ' if dry_run else ''}{each.action} {each.resource} in {each.zone}: {each.reason}")
    if not as_json and not acted:
        notice(f"nothing to delete on platform {platform.profile.platform}")
    refused = any(entry.get("denied") for entry in told)
    missing = access.find_missing(platform) if refused else access.Missing()
    for problem in errors:
        notice(f"error: {missing.shorten(problem)}")
    if missing.words:
        notice(missing.words)
    if errors:
        ctx.exit(1)


@click.command()
@profile_option
@json_option
def unfreeze(profile: str | None, as_json: bool) -> None:
    """Let a frozen platform start jobs again.

    It was the budget guard that froze it. Until the budget's next month no message of the same budget undoes this.
    """
    from launcher.config import load_profile
    from launcher.fleet import freeze
    from launcher.fleet.platform import platform_of

    platform = platform_of(load_profile(profile))
    lifted = freeze.unfreeze(platform, platform.profile.owner)
    if as_json:
        since = iso_time(lifted.since) if lifted else None
        print_json({"unfrozen": lifted is not None, "since": since, "reason": freeze.words(lifted) if lifted else None})
    elif lifted:
        print(f"platform {platform.profile.platform} starts jobs again; it was frozen because {freeze.words(lifted)}")
    else:
        print(f"platform {platform.profile.platform} is not frozen")
