"""A profile as a TOML file: written, read and checked."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import tomllib
import urllib.parse
from pathlib import Path
from typing import Any

from launcher.config import Profile
from launcher.errors import ConfigError
from launcher.records.leases import RENEW_S
from launcher.records.paths import OWNER
from launcher.setting_types import ZONE, nearest, seconds, seconds_or_zero

_BUCKET = "[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"
_PATTERNS = {
    # Ids are `<platform>-<job id>-a<attempt>-0`; Google takes 63 characters.
    "platform": (r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", "2 to 20 of a-z, 0-9 and '-', beginning with a letter"),
    "project": (r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,61}[a-z0-9]", "a Google Cloud project id such as 'my-project-123'"),
    "bucket": (_BUCKET, "a bucket's name without gs://"),
    "control_bucket": (f"({_BUCKET})?", "a bucket's name without gs://"),
    "connect": (r"external|internal|iap", "'external', 'internal' or 'iap'"),
    # What ssh_proxy.arguments replaces: found out only once a node exists, a wrong one would cost money.
    "proxy_command": (r"([^%{]|%[hpn%])*", "a command with %h (host), %p (port), %n (instance name) and %% only"),
    "credentials": (r"default|anonymous", "'default' or 'anonymous'"),
    "owner": (f"({OWNER.pattern})?", "up to 31 of a-z, 0-9 and '-'"),
    "service_account": (r"(\S+@\S+)?", "a service account's e-mail address"),
}
_ENDPOINTS = {f.name: f.default for f in dataclasses.fields(Profile) if f.name.endswith("_endpoint")}
_PATTERNS |= {key: (r"https?://[^/\s?#]+/?", f"a URL without a path, such as {url}") for key, url in _ENDPOINTS.items()}
_PATTERNS |= {  # those of a simulator have a path
    f"{name}_endpoint": (r"https?://[^\s?#]+", "a URL, such as https://container.googleapis.com")
    for name in ("container", "compute", "kubernetes")
}


def _ttl(value: Any) -> float:
    found = seconds(value)
    if found < 3 * RENEW_S:  # renewals, and the margin in which a worker stops
        raise ValueError(f"must be at least {3 * RENEW_S:g} seconds")
    return found


_SECONDS = {
    "keep_warm_s": seconds_or_zero,
    "lease_ttl_s": _ttl,
    **dict.fromkeys(["max_lifetime_s", "grace_s", "drain_s", "timer_margin_s"], seconds),
}
_FLAGS = ("external_ip", "shared_pool")
_REQUIRED = ("project", "zones", "bucket")


def serialise(profile: Profile) -> bytes:
    """Every key that is not its default, in the order of the fields."""
    lines = []
    for field in dataclasses.fields(profile):
        value = getattr(profile, field.name)
        if field.name not in ("name", "simulated") and value != field.default:
            # JSON's strings, numbers and lists are TOML's too, but for DEL, which no valid value holds.
            lines.append(f"{field.name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join([*lines, ""]).encode()


def parse(name: str, data: bytes, path: Path) -> Profile:
    """The profile in a file's bytes; ConfigError with every problem, each naming the file and the key."""
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not valid TOML: {exc}.") from exc
    document.setdefault("platform", name)
    keys = [f.name for f in dataclasses.fields(Profile) if f.name not in ("name", "simulated")]
    problems = [f"{path}: {key} is missing." for key in _REQUIRED if key not in document]
    for key, value in document.items():
        if key not in keys:
            problems.append(f"{path}: {key}: no such key.{nearest(key, keys)}")
        elif problem := _problem(key, value):
            problems.append(f"{path}: {key} = {value!r}: {problem}.")
    if not problems and document.get("credentials") != "anonymous":
        problems = [
            f"{path}: {key} = {document[key]!r}: credentials would be sent in the clear. "
            'Use https, or credentials = "anonymous".'
            for key in _ENDPOINTS
            if document.get(key, "").startswith("http://") and not _loopback(document[key])
        ]
    if document.get("connect") == "external" and document.get("external_ip") is False:
        problems.append(f'{path}: connect = "external" needs nodes with external_ip = true.')
    if problems:
        raise ConfigError(problems)
    values: dict[str, Any] = document | {"zones": tuple(document["zones"])}
    values |= {key: float(values[key]) for key in _SECONDS if key in values}
    simulated = values.get("credentials") == "anonymous" and _loopback(values.get("tpu_endpoint", ""))
    return Profile(name=name, simulated=simulated, **values)


def _problem(key: str, value: Any) -> str:
    """What `value` must be, "" where it is that."""
    if key == "zones":
        if not isinstance(value, list) or not value or not all(isinstance(zone, str) for zone in value):
            return 'must be a list of zones, such as ["us-central1-a"]'
        wrong = [zone for zone in value if not ZONE.fullmatch(zone)]
        return f"{wrong[0]!r} is not a zone's name, such as 'us-central1-a'" if wrong else ""
    if key == "ssh_port":
        right = type(value) is int and 1 <= value <= 65535
        return "" if right else "must be a port number, 1 to 65535"
    if key in _SECONDS:
        try:
            _SECONDS[key](value)
        except ValueError as exc:
            return str(exc)
        return "must be a number" if isinstance(value, str) else ""
    if key in _FLAGS:
        return "" if isinstance(value, bool) else "must be true or false"
    if not isinstance(value, str):
        return "must be a string"
    if not value.isprintable():
        return "has control characters"
    pattern, words = _PATTERNS.get(key, (".*", ""))
    return "" if re.fullmatch(pattern, value) else f"must be {words}"


def _loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
