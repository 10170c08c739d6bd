"""`launcher nodes`: what this platform has, how to prepare some ahead, and how to get rid of one."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from launcher.accelerators import PRICES_AS_OF, PRICES_SOURCE
from launcher.cli.output import (
    Duration,
    Group,
    human_age,
    iso_time,
    json_option,
    notice,
    print_json,
    print_table,
    profile_option,
    wanted_options,
    wanted_settings,
)
from launcher.terminal import Console, clean

if TYPE_CHECKING:
    from launcher.fleet.inventory import NodeInfo
    from launcher.fleet.warming import Warmed, WarmUp

_INDENT = 4 * " "


@click.group(cls=Group, default="list", invoke_without_command=True)
def nodes() -> None:
    """List nodes, prepare some ahead, delete one. Without a command: list."""


@nodes.command(name="list")
@profile_option
@json_option
def list_command(profile: str | None, as_json: bool) -> None:
    """List this platform's nodes.

    Shows for each its state, list price per hour, age, since when it is idle, who uses it and when it will go.
    """
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
        if sys.stdout.isatty():
            _print_blocks(found)
        else:
            headers = ["name", "zone", "accelerator", "state", "owner", "lease", "user", "job"]
            headers += ["age", "idle", "per hour", "goes"]
            print_table(headers, [_row(each) for each in found], right=["age", "idle", "per hour"])
        print(price_note(simulated))


@nodes.command()
@wanted_options
@click.option("--count", type=click.IntRange(1, 64), default=1, metavar="N", help="How many (default 1).")
@click.option("--for", "for_s", type=Duration(), default="1h", help="How long they stay, from READY on (default 1h).")
@click.option("--reservation", metavar="NAME", help="Take reserved capacity.")
@click.option("--pool", metavar="NAME", help="Which of the platform's pools; default: the first that fits.")
@click.option("--runtime-version", metavar="IMAGE", help="TPU VM image; default: the accelerator's.")
@profile_option
@json_option
def up(count: int, for_s: float, profile: str | None, as_json: bool, **wanted: Any) -> None:
    """Prepare nodes ahead of a working session.

    Calls that fit take them as soon as they are warm. They are deleted when their time is over and no call uses them.
    """
    from launcher.config import load_profile
    from launcher.estimating import of_settings
    from launcher.fleet import rules
    from launcher.fleet.costs import span_words, usd_words
    from launcher.fleet.platform import platform_of
    from launcher.fleet.session import new_holder
    from launcher.fleet.warming import WarmUp, requests

    settings = wanted_settings(**wanted)
    platform = platform_of(load_profile(profile, cloud_only=settings.cloud_only))
    settings = rules.settle(platform, settings)
    order = WarmUp(platform, new_holder(platform.profile.owner))
    asked = requests(platform.profile, settings, count, for_s)
    expected = of_settings(settings, platform.profile, for_s, count)
    price = "SIMULATED, no cost" if expected.simulated else f"{usd_words(expected.usd)} list price"
    notice(f"warming {expected.what}, for {span_words(for_s)}: {price}")
    several = [_Line(f"node {number} of {count}: ") for number in range(1, count + 1)]
    order.start(asked, several if count > 1 else [Console()])
    interrupted = _wait(order)
    if as_json:
        print_json([_warm_document(each) for each in order.warm])
    elif order.warm:
        print(_warm_words(order.warm, platform.profile.simulated))
    for name in sorted(order.left):
        notice(f"node {name} may still be there; the idle shutdown takes it. See: launcher nodes")
    if interrupted:
        raise KeyboardInterrupt
    if order.error is not None:
        raise order.error


class _Line:
    """Progress of one of several nodes, a line for each change."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def phase(self, name: str, detail: str = "") -> None:
        words = {"wait": "", "warm": "warm: ", "release": "deleting ", "released": "gone: "}.get(name)
        if words is not None:
            notice(f"{self._prefix}{words}{detail}")

    def log(self, data: bytes, worker: int = 0) -> None:
        """There is no job."""

    def notice(self, line: str) -> None:
        notice(f"{self._prefix}{line}")


def _wait(order: WarmUp) -> bool:
    """Until every node is warm or gone; whether a Ctrl-C ended it."""
    try:
        order.wait()
    except KeyboardInterrupt:
        order.cancel.set()
        notice("deleting what is not warm yet (Ctrl-C again: leave at once)")
        try:
            order.wait()
        except KeyboardInterrupt:
            notice("left; what is not warm is deleted by the idle shutdown. See: launcher nodes")
        return True
    return False


def _warm_words(warm: list[Warmed], simulated: bool) -> str:
    from launcher.fleet.costs import clock_words, span_words, usd_words

    until = min(each.until for each in warm)
    usd = [each.usd_at_most for each in warm]
    price = "list price unknown" if None in usd else f"at most {usd_words(sum(filter(None, usd)))} list price"
    span = span_words(until - max(each.now for each in warm))
    shown = "SIMULATED, no cost" if simulated else price
    end = "".join(f"\n  end it sooner: launcher nodes down {each.name}" for each in warm)
    return f"warm until {clock_words(until, warm[0].now)} ({span}, {shown}){end}"


def _warm_document(warmed: Warmed) -> dict[str, Any]:
    document = {**vars(warmed), "usd_at_most": warmed.usd_at_most, "until": iso_time(warmed.until)}
    del document["now"]
    return document


@nodes.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when it is somebody else's; a job that uses it is lost.")
@profile_option
@json_option
def down(name: str, force: bool, profile: str | None, as_json: bool) -> None:
    """Delete node NAME. A job of yours that uses it is cancelled first."""
    from launcher.config import load_profile
    from launcher.fleet.platform import platform_of
    from launcher.fleet.removal import delete_node
    from launcher.job import attach

    def cancel_job(job: str) -> None:
        attach(job, profile).cancel()

    platform = platform_of(load_profile(profile))
    gone, zone, job_id = delete_node(platform, name, force=force, cancel_job=cancel_job, tell=notice)
    if as_json:
        print_json({"name": gone, "zone": zone, "cancelled_job": job_id or None})
    else:
        print(f"node {gone} is gone")


def price_note(simulated: bool) -> str:
    """What the prices above it are."""
    note = f"List prices of {PRICES_AS_OF}, not a bill."
    return f"SIMULATED: nothing is paid. {note}" if simulated else note


def _print_blocks(found: tuple[NodeInfo, ...]) -> None:
    """For a terminal: of each node a line with what it is, and below it what goes on there, broken between words."""
    rows = [["name", "zone", "accelerator", "per hour"]]  # more than these four is wider than 80 columns
    rows += [[each.name, each.zone, _hardware(each), _price(each)] for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns
    for row, node in zip(rows, (None, *found), strict=True):
        padded = [
            cell.rjust(width) if number == 3 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = clean("  ".join(padded).rstrip())
        if node is None:
            click.secho(line, bold=True)
        else:
            print(line)
            print(textwrap.fill(clean(_sentence(node)), columns, initial_indent=_INDENT, subsequent_indent=_INDENT))


def _sentence(node: NodeInfo) -> str:
    """`ready, 7 min old, in use by ada@lab (job …)`, `ready, 3 h old, idle since 14:17 (3 min), goes at 14:32 (…)`."""
    from launcher.fleet.costs import clock_words, span_words

    job = f" (job {node.job.split('/')[1]})" if node.job else ""
    user = f"by {node.user}{job}" if node.user else ""
    used = next((words for words in ("in use", "waited for") if node.goes.startswith(words)), "")
    parts = [node.words]
    if node.created:
        parts.append(f"{_age(node)} old")
    if node.idle_since is not None:
        idle = span_words(node.now - node.idle_since)
        parts.append(f"idle since {clock_words(node.idle_since, node.now)} ({idle})")
    elif node.lease_state is None:
        parts.append("no lease")
    if used:
        parts.append(node.goes.replace(used, f"{used} {user}", 1))
    else:
        parts += [f"held {user}"] if user else []
        going = f"goes {'at ' if node.goes[0].isdigit() else ''}{node.goes_why}"
        if node.external:
            going = "never deleted (not ours)"
        elif node.goes == "being deleted":
            going = node.goes_why
        parts.append(going)
    return ", ".join(parts)


def _row(node: NodeInfo) -> list[str]:
    """For a pipe: the same in one line."""
    lease = "none" if node.lease_state is None else node.lease_state.value
    return [
        node.name,
        node.zone,
        _hardware(node),
        node.words,
        node.owner or "-",
        f"{lease}, expired" if node.expired else lease,
        node.user or "-",
        node.job or "-",
        _age(node),
        human_age(node.now - node.idle_since) if node.idle_since else "-",
        _price(node),
        node.goes_why,
    ]


def _hardware(node: NodeInfo) -> str:
    return f"{node.accelerator or '-'}{' spot' if node.spot else ''}"


def _age(node: NodeInfo) -> str:
    return human_age(node.now - node.created) if node.created else "-"


def _price(node: NodeInfo) -> str:
    return "unknown" if node.usd_per_hour is None else f"${node.usd_per_hour:,.2f}"


def _document(node: NodeInfo, simulated: bool) -> dict[str, Any]:
    document = {**vars(node), "lease": node.lease_state, "simulated": simulated}
    del document["lease_state"], document["now"]
    for key in ("created", "idle_since", "goes_at"):
        document[key] = iso_time(document[key]) if document[key] else None
    prices = {"as_of": PRICES_AS_OF, "source": PRICES_SOURCE} if node.usd_per_hour is not None else None
    return {**document, "list_price": prices}
