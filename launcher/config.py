"""Profiles: the launcher's saved pointers to platforms. Light to import."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import ConfigError
from launcher.private_files import config_dir, create_private, read_private, write_private
from launcher.records.leases import KEEP_WARM_S, MAX_LIFETIME_S
from launcher.records.paths import OWNER
from launcher.records.policy import PolicySettings
from launcher.setting_types import nearest

__all__ = [
    "SIMULATOR",
    "Profile",
    "config_dir",
    "create_private",
    "default_profile",
    "delete_profile",
    "list_profiles",
    "load_profile",
    "normalise_owner",
    "read_private",
    "read_profile",
    "save_profile",
    "select_profile",
    "write_private",
]

SIMULATOR = "simulator"  # the built-in profile
_POLICY = PolicySettings()
_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?")


@dataclasses.dataclass(frozen=True)
class Profile:
    """Where jobs go. `platform` begins every resource's id; `connect`: external, internal or iap. `external_ip`:
    whether nodes get an address of their own, without which they reach Google's services alone; on Google's default
    network ("") only with connect = external.

    `owner` is never "" in what load_profile returns. `simulated`: nothing costs, and calls say so. `keep_warm_s` and
    `max_lifetime_s`: for calls that do not say. `shared_pool`: warm nodes of other owners are used too. The other
    seconds are those of records/policy.py.
    """

    name: str
    platform: str
    project: str
    zones: tuple[str, ...]
    bucket: str
    control_bucket: str = ""
    connect: str = "iap"
    proxy_command: str = ""
    ssh_port: int = 22
    tpu_endpoint: str = "https://tpu.googleapis.com"
    storage_endpoint: str = "https://storage.googleapis.com"
    resource_manager_endpoint: str = "https://cloudresourcemanager.googleapis.com"
    service_usage_endpoint: str = "https://serviceusage.googleapis.com"
    iam_endpoint: str = "https://iam.googleapis.com"
    container_endpoint: str = "https://container.googleapis.com"
    compute_endpoint: str = "https://compute.googleapis.com"
    kubernetes_endpoint: str = ""  # in front of a cluster's own host; "": https to that host
    credentials: str = "default"
    owner: str = ""
    network: str = ""
    subnetwork: str = ""
    service_account: str = ""
    external_ip: bool = True
    simulated: bool = False
    keep_warm_s: float = KEEP_WARM_S
    max_lifetime_s: float = MAX_LIFETIME_S
    shared_pool: bool = False
    lease_ttl_s: float = _POLICY.ttl_s
    grace_s: float = _POLICY.grace_s
    drain_s: float = _POLICY.drain_s
    timer_margin_s: float = _POLICY.margin_s

    @property
    def policy(self) -> PolicySettings:
        """The numbers of this platform's idle shutdown."""
        return PolicySettings(
            idle_s=self.keep_warm_s,
            grace_s=self.grace_s,
            ttl_s=self.lease_ttl_s,
            margin_s=self.timer_margin_s,
            max_lifetime_s=self.max_lifetime_s,
            drain_s=self.drain_s,
        )


def load_profile(
    name: str | None = None, *, interactive: bool | None = None, cloud_only: Sequence[str] = ()
) -> Profile:
    """The profile to use, its owner resolved: `name`, LAUNCHER_PROFILE, the default one, or the simulator.

    interactive: whether somebody sits at a terminal (None: look). cloud_only: what the call asks for that
    only a cloud has. Without any profile the simulator is used only for an interactive call without those.
    May start a simulator; may ask Google for the account's e-mail address. ConfigError where the simulator of a saved
    profile is gone: another one has another address.
    """
    chosen = name or os.environ.get("LAUNCHER_PROFILE") or default_profile()
    if chosen is None:
        _require_choice(_at_terminal() if interactive is None else interactive, cloud_only)
        chosen = SIMULATOR
    if chosen == SIMULATOR:
        from launcher.simulator_process import find_or_start

        return find_or_start()
    profile = read_profile(chosen)
    if profile.simulated:
        from launcher.simulator_process import check_serves

        check_serves(profile)
    if not profile.owner:
        profile = dataclasses.replace(profile, owner=_owner(profile))
        save_profile(profile)  # asked for once
    return profile


def list_profiles() -> tuple[str, ...]:
    """Names of the saved profiles."""
    folder = config_dir(create=False) / "profiles"
    return tuple(sorted(path.stem for path in folder.glob("*.toml") if _NAME.fullmatch(path.stem)))


def read_profile(name: str) -> Profile:
    """A saved profile as it was written. ConfigError with the nearest name, or with all that is wrong in it."""
    from launcher.profile_file import parse

    path = _path(name)
    data = read_private(path)
    if data is None:
        raise ConfigError(_unknown(name))
    return parse(name, data, path)


def save_profile(profile: Profile, *, overwrite: bool = True) -> Path:
    """Writes a profile after checking it; the file. The first one saved becomes the default."""
    from launcher.profile_file import parse, serialise

    config_dir()
    path = _path(profile.name)
    data = serialise(profile)
    parse(profile.name, data, path)  # what is written can be read
    if overwrite:
        write_private(path, data)
    elif not create_private(path, data):
        raise ConfigError(f"There is a profile {profile.name!r} already: {path}. Choose another name.")
    if default_profile() is None:
        select_profile(profile.name)
    return path


def delete_profile(name: str) -> None:
    """Removes a saved profile; what it points to stays."""
    try:
        _path(name).unlink()
    except FileNotFoundError:
        raise ConfigError(_unknown(name)) from None
    if default_profile() == name:
        _default_file().unlink()


def default_profile() -> str | None:
    """The name that select_profile chose, or None."""
    config_dir(create=False)
    data = read_private(_default_file())
    return data.decode().strip() or None if data is not None else None


def select_profile(name: str) -> None:
    """Makes `name` (a saved profile, or the simulator) the default."""
    if name != SIMULATOR:
        read_profile(name)
    write_private(config_dir() / "default-profile", f"{name}\n".encode())


def normalise_owner(text: str) -> str:
    """The local part of an e-mail address, or a user's name, as an owner: [a-z0-9-], at most 31 characters."""
    local = re.sub(r"[^a-z0-9]+", "-", text.partition("@")[0].lower()).strip("-")[:31].strip("-")
    if not OWNER.fullmatch(local):
        raise ConfigError(f'No owner can be made of {text!r}. Set owner = "NAME" in the profile.')
    return local


def _owner(profile: Profile) -> str:
    from launcher.cloud.credentials import account

    email = account(profile.credentials)
    if not email:
        raise ConfigError(
            f"Profile {profile.name!r}: the credentials do not tell whose they are. "
            f'Set owner = "NAME" in {_path(profile.name)}.'
        )
    return normalise_owner(email)


def _require_choice(interactive: bool, cloud_only: Sequence[str]) -> None:
    if cloud_only:
        why = f"the call asks for {', '.join(cloud_only)}, which only a cloud has"
    elif interactive:
        return
    else:
        why = "this is no terminal, so nobody would see that it ran on a simulator"
    pick = "".join(f"LAUNCHER_PROFILE={name} or " for name in list_profiles()[:1])
    raise ConfigError(
        f"No profile says where to run, and {why}. Choose with {pick}LAUNCHER_PROFILE=simulator, "
        'with profile="NAME" in @launcher.run, or once with: launcher profile use NAME'
    )


def _at_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _path(name: str) -> Path:
    if name == SIMULATOR:
        raise ConfigError("The profile 'simulator' is built in and has no file. Choose another name.")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"Profile name {name!r}: use up to 40 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit."
        )
    return config_dir(create=False) / "profiles" / f"{name}.toml"


def _default_file() -> Path:
    return config_dir(create=False) / "default-profile"


def _unknown(name: str) -> str:
    return f"There is no profile {name!r}.{nearest(name, (*list_profiles(), SIMULATOR))} See: launcher profile list"
