"""Entry points of the Cloud Functions (2nd generation, HTTP). `launcher reap` runs the same code.

Settings come from the function's own environment alone, never from a bucket that a job can write:

    PROJECT, ZONES (comma-separated), BUCKET, PLATFORM     required
    CONTROL_BUCKET, DRY_RUN, GUARD_DRAIN_BUSY              flags are true or false
    GRACE_S, MAX_LIFETIME_S, DRAIN_S                       seconds
    TPU_ENDPOINT, STORAGE_ENDPOINT, CREDENTIALS            for tests
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from launcher.config import Profile
from launcher.errors import ConfigError, LauncherError
from launcher.fleet.guard import on_budget_message, parse
from launcher.fleet.platform import Platform, platform_of
from launcher.fleet.reaper import Report, log_json, reap
from launcher.records.policy import PolicySettings

Answer = tuple[str, int, dict[str, str]]

_REQUIRED = ("PROJECT", "ZONES", "BUCKET", "PLATFORM")
_OPTIONAL = ("CONTROL_BUCKET", "TPU_ENDPOINT", "STORAGE_ENDPOINT", "CREDENTIALS")
_SECONDS = ("GRACE_S", "MAX_LIFETIME_S", "DRAIN_S")
_FLAGS = ("DRY_RUN", "GUARD_DRAIN_BUSY")


def idle_shutdown(request: Any) -> Answer:
    """For Cloud Scheduler: one pass of the reaper. 500 where a zone or a node could not be dealt with."""
    return _answered(_idle_shutdown)


def budget_guard(request: Any) -> Answer:
    """For a Pub/Sub push subscription on the budget's topic. 500 where the message is to be delivered again."""
    return _answered(lambda: _budget_guard(request.get_json(silent=True)))


def _idle_shutdown() -> tuple[dict[str, Any], bool]:
    platform, settings, flags = _settings(os.environ)
    report = reap(platform, settings, dry_run=flags["DRY_RUN"])
    return _document(report, flags["DRY_RUN"]), not report.errors


def _budget_guard(body: Any) -> tuple[dict[str, Any], bool]:
    platform, settings, flags = _settings(os.environ)
    try:
        message = parse(body)
    except ConfigError as exc:  # another delivery would not mend it: the error in the log is what tells
        log_json({"severity": "ERROR", "message": str(exc)})
        return {"frozen": False, "reason": str(exc)}, True
    drain_busy, dry_run = flags["GUARD_DRAIN_BUSY"], flags["DRY_RUN"]
    guarded = on_budget_message(platform, message, settings, drain_busy=drain_busy, dry_run=dry_run)
    severity = "WARNING" if guarded.frozen else "INFO"
    log_json({"severity": severity, "message": guarded.reason, "frozen": guarded.frozen, "dry_run": dry_run})
    document = {"frozen": guarded.frozen, "reason": guarded.reason}
    if guarded.report is None:
        return document, True
    return {**document, **_document(guarded.report, dry_run)}, not guarded.report.errors


def _document(report: Report, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "decisions": [dataclasses.asdict(each) for each in report.acted],
        "errors": list(report.errors),
    }


def _answered(function: Callable[[], tuple[dict[str, Any], bool]]) -> Answer:
    """What `function` returns as JSON; 500 where it is not all right, so that the caller's own alert fires too."""
    try:
        document, right = function()
    except LauncherError as exc:
        log_json({"severity": "ERROR", "message": str(exc)})
        document, right = {"errors": [str(exc)]}, False
    return json.dumps(document), 200 if right else 500, {"Content-Type": "application/json"}


def _settings(environment: Mapping[str, str]) -> tuple[Platform, PolicySettings, dict[str, bool]]:
    """ConfigError with all that is wrong in the environment at once."""
    given = {name: value for name, value in environment.items() if value}
    problems = [f"The function's environment has no {name}." for name in _REQUIRED if name not in given]
    seconds: dict[str, Any] = {}
    for name in _SECONDS:
        text = given.get(name, "1")
        if not text.isdecimal() or not int(text):
            problems.append(f"{name} = {text!r} in the function's environment: must be seconds, a whole number.")
        elif name in given:
            seconds[name.lower()] = float(text)
    flags = {name: given.get(name, "false").lower() for name in _FLAGS}
    problems += [
        f"{name} = {flag!r} in the function's environment: must be true or false."
        for name, flag in flags.items()
        if flag not in ("true", "false")
    ]
    if problems:
        raise ConfigError(problems)
    optional: dict[str, Any] = {name.lower(): given[name] for name in _OPTIONAL if name in given}
    profile = Profile(
        name=given["PLATFORM"],
        platform=given["PLATFORM"],
        project=given["PROJECT"],
        zones=tuple(zone.strip() for zone in given["ZONES"].split(",")),
        bucket=given["BUCKET"],
        **optional,
    )
    return platform_of(profile), PolicySettings(**seconds), {name: flag == "true" for name, flag in flags.items()}
