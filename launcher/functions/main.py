"""Entry points of the Cloud Functions (2nd generation, HTTP). `launcher reap` runs the same code.

Settings come from the function's own environment alone, never from a bucket that a job can write:

    PROJECT, ZONES (comma-separated), BUCKET, PLATFORM     required
    CALLER                                                 required: the service account that may call, by its e-mail
    CONTROL_BUCKET, DRY_RUN, GUARD_DRAIN_BUSY              flags are true or false
    BUDGET_ID                                              of the platform's budget; default: any that tells the guard
    GRACE_S, MAX_LIFETIME_S, DRAIN_S, GKE_IDLE_S           seconds
    GKE_CLUSTER, GKE_DELETE_IDLE                           location/name of the platform's cluster; a flag
    AUDIENCE                                               of the caller's token; default: the address that was asked
    CREDENTIALS, and …_ENDPOINT of every service           for tests
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from launcher.config import Profile
from launcher.errors import ConfigError, LauncherError
from launcher.fleet.clusters import reap_clusters
from launcher.fleet.guard import on_budget_message, parse
from launcher.fleet.platform import Platform, platform_of
from launcher.fleet.reaper import Report, log_json, reap
from launcher.functions import caller
from launcher.records.clusters import ClusterSettings
from launcher.records.policy import PolicySettings

Answer = tuple[str, int, dict[str, str]]

_REQUIRED = ("PROJECT", "ZONES", "BUCKET", "PLATFORM", "CALLER")
_SERVICES = ("TPU", "STORAGE", "CONTAINER", "COMPUTE", "KUBERNETES")
_OPTIONAL = ("CONTROL_BUCKET", "CREDENTIALS", *(f"{name}_ENDPOINT" for name in _SERVICES))
_POLICY = ("GRACE_S", "MAX_LIFETIME_S", "DRAIN_S")
_SECONDS = (*_POLICY, "GKE_IDLE_S")
_FLAGS = ("DRY_RUN", "GUARD_DRAIN_BUSY", "GKE_DELETE_IDLE")


@dataclasses.dataclass(frozen=True)
class _Settings:
    """The function's environment. `audience` is "" where it is the address that was asked; `cluster` where none is."""

    platform: Platform
    policy: PolicySettings
    cluster: str
    cluster_policy: ClusterSettings
    caller: str
    audience: str
    dry_run: bool
    budget_id: str
    drain_busy: bool


def idle_shutdown(request: Any) -> Answer:
    """For Cloud Scheduler: one pass of the reaper, and over the platform's cluster. 500 where something could not be
    dealt with."""
    return _answered(request, _idle_shutdown)


def budget_guard(request: Any) -> Answer:
    """For a Pub/Sub push subscription on the budget's topic. 500 where the message is to be delivered again."""
    return _answered(request, lambda settings: _budget_guard(settings, request.get_json(silent=True)))


def _idle_shutdown(settings: _Settings) -> tuple[dict[str, Any], bool]:
    dry_run = settings.dry_run
    report = reap(settings.platform, settings.policy, dry_run=dry_run)
    if settings.cluster:
        more = reap_clusters(settings.platform, settings.cluster, settings.cluster_policy, dry_run=dry_run)
        report = Report(report.decisions + more.decisions, report.errors + more.errors)
    return _document(report, dry_run), not report.errors


def _budget_guard(settings: _Settings, body: Any) -> tuple[dict[str, Any], bool]:
    dry_run = settings.dry_run
    try:
        message = parse(body)
    except ConfigError as exc:  # another delivery would not mend it: the error in the log is what tells
        log_json({"severity": "ERROR", "event": "error", "message": str(exc)})
        return {"frozen": False, "reason": str(exc)}, True
    guarded = on_budget_message(
        settings.platform,
        message,
        settings.policy,
        budget_id=settings.budget_id,
        drain_busy=settings.drain_busy,
        dry_run=dry_run,
    )
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


def _answered(request: Any, function: Callable[[_Settings], tuple[dict[str, Any], bool]]) -> Answer:
    """What `function` returns as JSON; 500 where it is not all right, so that the caller's own alert fires too.

    401 or 403, and nothing is done, for whoever is not CALLER.
    """
    try:
        settings = _settings(os.environ)
        caller.check(
            request.headers.get("Authorization", ""),
            caller=settings.caller,
            audience=settings.audience or f"https://{request.host}",
            now=time.time(),
        )
        document, right = function(settings)
        status = 200 if right else 500
    except caller.Refused as exc:
        log_json({"severity": "WARNING", "event": "refused", "message": str(exc)})
        document, status = {"errors": [str(exc)]}, exc.status
    except LauncherError as exc:
        log_json({"severity": "ERROR", "event": "error", "message": str(exc)})
        document, status = {"errors": [str(exc)]}, 500
    return json.dumps(document), status, {"Content-Type": "application/json"}


def _settings(environment: Mapping[str, str]) -> _Settings:
    """ConfigError with all that is wrong in the environment at once."""
    given = {name: value for name, value in environment.items() if value}
    problems = [f"The function's environment has no {name}." for name in _REQUIRED if name not in given]
    seconds = {name: given[name] for name in _SECONDS if name in given}
    problems += [
        f"{name} = {text!r} in the function's environment: must be seconds, a whole number."
        for name, text in seconds.items()
        if not text.isdecimal() or not int(text)
    ]
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
    cluster: dict[str, Any] = {"idle_s": float(seconds["GKE_IDLE_S"])} if "GKE_IDLE_S" in seconds else {}
    policy: dict[str, Any] = {name.lower(): float(seconds[name]) for name in _POLICY if name in seconds}
    return _Settings(
        platform=platform_of(profile),
        policy=PolicySettings(**policy),
        cluster=given.get("GKE_CLUSTER", ""),
        cluster_policy=ClusterSettings(**cluster, delete_idle=flags["GKE_DELETE_IDLE"] == "true"),
        caller=given["CALLER"],
        audience=given.get("AUDIENCE", ""),
        dry_run=flags["DRY_RUN"] == "true",
        budget_id=given.get("BUDGET_ID", ""),
        drain_busy=flags["GUARD_DRAIN_BUSY"] == "true",
    )
