"""`launcher profile`: the saved pointers to platforms."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
from typing import Any

import click

from launcher.cli.output import Group, json_option, print_json, print_table
from launcher.errors import ConfigError


@click.group(cls=Group, default="list", invoke_without_command=True)
def profile() -> None:
    """Choose and edit where jobs go. Without a command: list.

    A profile names a platform: its project, zones, bucket and how to connect. LAUNCHER_PROFILE=NAME uses one for
    one command, `launcher profile use NAME` from now on.
    """


@profile.command(name="list")
@json_option
def list_command(as_json: bool) -> None:
    """List profiles; the default one is marked."""
    from launcher import config

    rows: list[dict[str, Any]] = []
    for name in config.list_profiles():
        found = config.read_profile(name)
        rows.append({"name": name, "project": found.project, "zones": list(found.zones), "bucket": found.bucket})
    rows.append({"name": config.SIMULATOR, "project": "on this machine", "zones": [], "bucket": ""})
    default = config.default_profile()
    if as_json:
        print_json([{**row, "default": row["name"] == default} for row in rows])
        return
    table = [
        ["*" * (r["name"] == default), r["name"], r["project"], ",".join(r["zones"]) or "-", r["bucket"] or "-"]
        for r in rows
    ]
    print_table(["", "name", "project", "zones", "bucket"], table, fold=["zones", "bucket"])


@profile.command()
@click.argument("name", required=False)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Show every key of a profile (default: the one in use)."""
    from launcher import config

    chosen = name or os.environ.get("LAUNCHER_PROFILE") or config.default_profile()
    if not chosen:
        raise ConfigError("No profile is chosen. See: launcher profile list, then: launcher profile use NAME")
    if chosen == config.SIMULATOR:
        raise ConfigError("The profile 'simulator' is built in. Where it serves: launcher sim status")
    found = dataclasses.asdict(config.read_profile(chosen))
    del found["simulated"]
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key} = {','.join(value) if isinstance(value, tuple) else value}".rstrip())


@profile.command()
@click.argument("name")
@json_option
def use(name: str, as_json: bool) -> None:
    """Make NAME the default."""
    from launcher import config

    config.select_profile(name)
    _done(name, f"default profile: {name}", as_json)


@profile.command()
@click.argument("name")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def add(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Save a new profile: project, zones (a,b,c) and bucket are needed.

    The first one saved becomes the default.
    """
    from launcher import config

    values = _parse(settings)
    missing = [key for key in ("project", "zones", "bucket") if not values.get(key)]
    if missing:
        raise ConfigError([f"profile {name}: {key} is missing. Add: {key}=…" for key in missing])
    path = config.save_profile(config.Profile(name=name, **{"platform": name, **values}), overwrite=False)
    _done(name, f"saved {path}", as_json)


@profile.command(name="set")
@click.argument("name")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def set_command(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Change keys of a profile; `KEY=` puts the default back."""
    from launcher import config

    values = _parse(settings)
    path = config.save_profile(dataclasses.replace(config.read_profile(name), **values))
    _done(name, f"saved {path}", as_json)


@profile.command()
@click.argument("name")
@json_option
def delete(name: str, as_json: bool) -> None:
    """Forget a profile. What it points to stays."""
    from launcher import config

    config.delete_profile(name)
    _done(name, f"profile {name} is forgotten", as_json)


def _parse(settings: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` words as values of Profile; every problem at once."""
    keys = _fields()
    values: dict[str, Any] = {}
    problems = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            problems.append(f"{setting!r} is not KEY=VALUE.")
        elif key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(keys)}."
            problems.append(f"No profile has a key {key!r}. {hint}")
        elif not text and keys[key].default is not dataclasses.MISSING:
            values[key] = keys[key].default
        elif key == "zones":
            values[key] = tuple(zone.strip() for zone in text.split(",") if zone.strip())
        else:
            values[key] = _value(keys[key].default, text)
    if problems:
        raise ConfigError(problems)
    return values


def _value(default: object, text: str) -> object:
    """The text as a value of the default's type; as it is where it is none, for the check of the file to tell."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int | float):
        with contextlib.suppress(ValueError):
            return type(default)(text)
    return text


def _fields() -> dict[str, dataclasses.Field[Any]]:
    from launcher.config import Profile

    return {each.name: each for each in dataclasses.fields(Profile) if each.name not in ("name", "simulated")}


def _done(name: str, line: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name})
    else:
        print(line)
