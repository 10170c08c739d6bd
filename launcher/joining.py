"""Join a platform: read platform.json of its control bucket and save a profile that points there."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from launcher import config
from launcher.config import SIMULATOR, Profile
from launcher.errors import ConfigError, NotFound, PermissionDenied
from launcher.fleet.platform import Platform, parse_file
from launcher.records.paths import PLATFORM
from launcher.records.platform import SCHEMA, PlatformFile
from launcher.setting_types import nearest

_WHICH = "Its name ends in -control, and whoever operates the platform sees it with: terraform output launcher"


@dataclasses.dataclass(frozen=True)
class Joined:
    """`path`: of the profile's file. `default`: whether calls go there from now on. `team`: "" where there are none."""

    profile: Profile
    path: Path
    file: PlatformFile
    default: bool
    team: str


def join(bucket: str, *, name: str = "", team: str = "") -> Joined:
    """Saves a profile of the platform whose control bucket this is, under its name unless another is given.

    One that is there already for the same bucket gets what platform.json says and keeps the rest. ConfigError,
    CloudError.
    """
    bucket = bucket.removeprefix("gs://").rstrip("/")
    known = {each: config.read_profile(each) for each in config.list_profiles()}
    simulated = _simulated()
    before = known.get(name) if name else next((it for it in known.values() if it.control_bucket == bucket), None)
    file = _read(bucket, simulated, before)
    chosen = name or (before.name if before else file.platform)
    before = known.get(chosen)
    if before is not None and before.control_bucket != bucket:
        where = before.control_bucket or before.bucket
        raise ConfigError(
            f"Profile {chosen!r} is there already, for bucket {where}. Save this platform under another name: "
            f"launcher init --bucket {bucket} --profile NAME"
        )
    team, account = _account(file, team, before)
    values = {
        **{each: getattr(file, each) for each in ("platform", "project", "zones", "bucket", "control_bucket")},
        **{each: getattr(file, each) for each in ("connect", "external_ip", "network", "subnetwork")},
        **vars(file.idle_shutdown),
        "service_account": account,
        **simulated,
    }
    base = before or Profile(chosen, file.platform, file.project, file.zones, file.bucket)
    profile = dataclasses.replace(base, **values)
    if before is not None and before.owner:
        profile = dataclasses.replace(profile, owner=before.owner)
    path = config.save_profile(profile)
    return Joined(config.read_profile(chosen), path, file, config.default_profile() == chosen, team)


def bucket_of(folder: Path) -> str:
    """The control bucket of the platform that was applied in this Terraform folder. ConfigError."""
    from launcher.cloud import terraform

    found = terraform.output(folder, "launcher").get("control_bucket")
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{folder}: its output launcher names no control_bucket. Fix: terraform apply")
    return found


def _simulated() -> dict[str, Any]:
    """What a profile of a simulated platform has besides: how to reach the simulator that the environment names."""
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if not emulator and os.environ.get("LAUNCHER_PROFILE") != SIMULATOR:
        return {}
    from launcher import simulator_process

    if not emulator:
        found = simulator_process.find_or_start()
    else:
        info = simulator_process.find()
        if info is None or info["storage"].rstrip("/") != emulator.rstrip("/"):
            runs = f"it serves at {info['storage']}" if info else "none runs"
            raise ConfigError(
                f"STORAGE_EMULATOR_HOST = {emulator!r} is not your simulator's address ({runs}). Unset it, or set it "
                'with: eval "$(launcher sim env)"'
            )
        found = simulator_process.to_profile(info)
    kept = ("connect", "proxy_command", "ssh_port", "credentials", "owner")
    endpoints = [each.name for each in dataclasses.fields(found) if each.name.endswith("_endpoint")]
    return {each: getattr(found, each) for each in (*kept, *endpoints)}


def _read(bucket: str, simulated: dict[str, Any], before: Profile | None) -> PlatformFile:
    """platform.json with the user's own credentials."""
    place = f"gs://{bucket}/{PLATFORM}"
    base = before or Profile("init", "init", "", (), bucket)
    store = Platform(dataclasses.replace(base, **{**simulated, "control_bucket": bucket})).control_store
    try:
        stored = store.read(PLATFORM)
    except NotFound as exc:
        raise NotFound(f"There is no bucket {bucket}. {_WHICH}") from exc
    except PermissionDenied as exc:
        raise PermissionDenied(
            f"{exc}\nAn operator of the platform can add you to launcher_users in Terraform."
        ) from exc
    if stored is None:
        raise ConfigError(f"{place}: there is no such file. Is this the control bucket? {_WHICH}")
    file = parse_file(stored.data, place)
    if file.schema > SCHEMA:
        raise ConfigError(
            f"{place} is for a newer launcher (schema {file.schema}, this one knows {SCHEMA}): upgrade it."
        )
    if file.control_bucket != bucket:
        raise ConfigError(
            f"{place} is a copy: the platform's control bucket is {file.control_bucket}. "
            f"Join with: launcher init --bucket {file.control_bucket}"
        )
    return file


def _account(file: PlatformFile, team: str, before: Profile | None) -> tuple[str, str]:
    """The team, and the service account that its nodes run as."""
    accounts = file.service_accounts
    if file.service_account is not None or not accounts:
        if team:
            raise ConfigError(f"--team {team}: platform {file.platform} has no teams. Leave it out.")
        return "", file.service_account or ""
    if not team and before is not None:  # joining again
        team = next((each for each, account in accounts.items() if account == before.service_account), "")
    if not team and len(accounts) == 1:
        team = next(iter(accounts))
    if not team:
        raise ConfigError(f"Platform {file.platform} has teams: {', '.join(sorted(accounts))}. Say yours: --team NAME")
    if team not in accounts:
        raise ConfigError(f"--team {team}: platform {file.platform} has no such team.{nearest(team, sorted(accounts))}")
    return team, accounts[team]
