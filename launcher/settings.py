"""The settings of one decorated function: decorator, environment, project file, defaults. Light to import."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher import setting_types as types
from launcher.accelerators import Accelerator, parse
from launcher.errors import ConfigError
from launcher.setting_types import nearest

__all__ = ["OPTIONS", "Settings", "resolve"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one call asks for, checked. Times in seconds. The platform's: `zones` (), `keep_warm_s` and
    `max_lifetime_s` None.

    `cloud_only`: which of spot, zone, reservation, pool and node were given; no simulator is started for those.
    `given`: every name that was given anywhere. `pools`: what fleet/rules.py decided.
    """

    accelerator: Accelerator
    runtime_version: str
    spot: bool = False
    spot_fallback: bool = False
    reservation: str = ""
    node: str = ""
    zones: tuple[str, ...] = ()
    dependencies: tuple[str, ...] | None = None
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    capture_env_vars: tuple[str, ...] = ()
    timeout_s: float | None = None
    keep_warm_s: float | None = None
    max_lifetime_s: float | None = None
    wait_timeout_s: float | None = None
    project_root: str | None = None
    name: str | None = None
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    profile: str | None = None
    max_archive_bytes: int = 500_000_000
    max_result_bytes: int = 10 * 2**30
    cloud_only: tuple[str, ...] = ()
    pool: str = ""
    pools: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class _Option:
    """read: the value from what was given, ValueError with what it must be. Which sources may give it: the
    decorator (`call`), LAUNCHER_<NAME> (`environment`), [tool.launcher] (`project`)."""

    read: Callable[[Any], Any]
    call: bool = True
    environment: bool = True
    project: bool = True


_TABLE: dict[str, _Option] = {
    "accelerator": _Option(types.text),
    "spot": _Option(types.flag),
    "spot_fallback": _Option(types.flag),
    "reservation": _Option(types.text),
    "pool": _Option(types.text),
    "zone": _Option(types.zones),
    "node": _Option(types.text),
    "num_slices": _Option(types.count),
    "runtime_version": _Option(types.text),
    "dependencies": _Option(types.texts, environment=False),
    "env": _Option(types.variables, environment=False),
    "capture_env_vars": _Option(types.texts),
    "timeout_s": _Option(types.seconds),
    "retries": _Option(types.count),
    "preemption_retries": _Option(types.count),
    "keep_warm_s": _Option(types.seconds_or_zero),
    "max_lifetime_s": _Option(types.seconds),
    "wait_timeout_s": _Option(types.seconds),
    "project_root": _Option(types.path, project=False),
    "name": _Option(types.text, environment=False, project=False),
    "labels": _Option(types.labels, environment=False),
    "profile": _Option(types.text, project=False),
    "max_archive_bytes": _Option(types.size, call=False),
    "max_result_bytes": _Option(types.size, call=False),
}
OPTIONS = tuple(name for name, option in _TABLE.items() if option.call)

# A cloned repository must not choose who gets credentials and code.
_NEVER_IN_PROJECT = (
    *("profile", "platform", "project", "bucket", "control_bucket", "tpu_endpoint", "storage_endpoint"),
    *("connect", "proxy_command", "ssh_port", "credentials", "owner", "network", "subnetwork"),
    *("service_account", "endpoint", "endpoints", "simulated", "zones", "shared_pool", "external_ip"),
    *("resource_manager_endpoint", "service_usage_endpoint", "iam_endpoint"),
    *("container_endpoint", "compute_endpoint", "kubernetes_endpoint"),
)
_CLOUD_ONLY = ("spot", "zone", "reservation", "pool", "node")
_LATER: dict[str, tuple[Any, ...]] = {  # the values that stand for "not asked for"
    "num_slices": (1,),
    "retries": (0,),
    "preemption_retries": (0, 3),
}


def resolve(values: Mapping[str, Any], project_root: Path | None = None) -> Settings:
    """The settings of a function, from what its decorator was given (None is not given) downwards.

    Decorator, then LAUNCHER_* variables, then [tool.launcher] of `project_root`/pyproject.toml, then defaults.
    No network and no profile is needed. Raises one ConfigError with every problem.
    """
    problems: list[str] = []
    # Every value with where it was given; later sources win.
    given = _project(project_root, problems) | _environment(problems) | _call(values, problems)
    chosen: dict[str, Any] = {}
    for name, (where, value) in given.items():
        try:
            chosen[name] = _TABLE[name].read(value)
        except ValueError as exc:
            shown = "" if name in ("env", "dependencies") else f" = {value!r}"  # they may hold somebody's secrets
            problems.append(f"{where}{shown}: {name} {exc}.")
    places = {name: where for name, (where, _) in given.items()}
    accelerator = _accelerator(chosen, places, problems)
    _check_together(chosen, places, problems)
    if problems or accelerator is None:
        raise ConfigError(problems)
    fields = {field.name: chosen[field.name] for field in dataclasses.fields(Settings) if field.name in chosen}
    fields |= {"accelerator": accelerator, "zones": chosen.get("zone", ())}
    fields["given"] = frozenset(chosen)
    fields["cloud_only"] = tuple(name for name in _CLOUD_ONLY if chosen.get(name))
    return Settings(**{"runtime_version": accelerator.default_runtime_version} | fields)


def _call(values: Mapping[str, Any], problems: list[str]) -> dict[str, tuple[str, Any]]:
    problems += [f"@launcher.run: unknown option {k!r}.{nearest(k, OPTIONS)}" for k in values if k not in OPTIONS]
    return {k: (f"@launcher.run: {k}", v) for k, v in values.items() if k in OPTIONS and v is not None}


def _environment(problems: list[str]) -> dict[str, tuple[str, Any]]:
    known = {f"LAUNCHER_{name.upper()}": name for name, option in _TABLE.items() if option.environment}
    for variable in os.environ:  # others' variables may begin so too: only what looks like a slip is refused
        if variable.startswith("LAUNCHER_") and variable not in known:
            near = difflib.get_close_matches(variable, known, 1, cutoff=0.92)
            problems += [f"{variable}: no such setting. Did you mean {near[0]}?"] if near else []
    return {name: (variable, os.environ[variable]) for variable, name in known.items() if os.environ.get(variable)}


def _project(root: Path | None, problems: list[str]) -> dict[str, tuple[str, Any]]:
    path = root / "pyproject.toml" if root is not None else None
    if path is None or not path.is_file():
        return {}
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("launcher", {})
        entries = dict(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        problems.append(f"{path}: not valid TOML: {exc}.")
        return {}
    except (AttributeError, TypeError, ValueError):
        problems.append(f"{path}: [tool.launcher] must be a table.")
        return {}
    allowed = [name for name, option in _TABLE.items() if option.project]
    for key in [key for key in entries if key not in allowed]:
        place = f"{path} [tool.launcher] {key}"
        if key in _NEVER_IN_PROJECT:
            problems.append(
                f"{place}: a project file may not say where code and data are sent. Remove it; that belongs in "
                "your profile: launcher profile"
            )
        elif key in _TABLE:
            problems.append(f"{place}: this is set in the decorator only: @launcher.run({key}=...).")
        else:
            problems.append(f"{place}: no such setting.{nearest(key, allowed)}")
    return {key: (f"{path} [tool.launcher] {key}", value) for key, value in entries.items() if key in allowed}


def _accelerator(chosen: dict[str, Any], places: dict[str, str], problems: list[str]) -> Accelerator | None:
    if "accelerator" in places and "accelerator" not in chosen:
        return None  # told already
    try:
        found = parse(chosen.get("accelerator", "v5litepod-1"))
    except ConfigError as exc:
        problems += [f"{places['accelerator']}: {problem.removeprefix('accelerator ')}" for problem in exc.problems]
        return None
    if found.hosts > 1:
        problems.append(f"{places['accelerator']} = {several_hosts(found)}")
    return found


def several_hosts(accelerator: Accelerator) -> str:
    return (
        f"{accelerator.name!r} has {accelerator.hosts} hosts; more than one comes with a later version. "
        "Use one with a single host, such as 'v5litepod-8' or 'v6e-8'."
    )


def _check_together(chosen: dict[str, Any], places: dict[str, str], problems: list[str]) -> None:
    for name, neutral in _LATER.items():
        if name in chosen and chosen[name] not in neutral:
            problems.append(f"{places[name]} = {chosen[name]!r}: {name} comes with a later version. Leave it out.")
    if "node" in chosen:
        problems += [
            f"{places[name]} with node = {chosen['node']!r}: that node is there already. Leave {name} out."
            for name in ("spot", "spot_fallback", "reservation", "pool")
            if chosen.get(name)
        ]
    elif chosen.get("spot") and chosen.get("reservation"):
        problems.append(f"{places['reservation']} with spot: reserved capacity is no spot capacity. Leave one out.")
    elif chosen.get("spot_fallback") and not chosen.get("spot"):
        problems.append(f"{places['spot_fallback']} without spot: without it every node is on demand. Add spot=True.")
    limit, lifetime = chosen.get("timeout_s"), chosen.get("max_lifetime_s")
    if limit is not None and lifetime is not None and limit > lifetime:
        problems.append(
            f"{places['timeout_s']} = {limit:g} is longer than max_lifetime_s = {lifetime:g}: the node would be "
            "gone before the job's time is up. Raise max_lifetime_s or lower timeout_s."
        )
