"""What Google's provider refuses in `terraform validate` and the schema on the wire cannot say."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from tests.terraform.standin.plan import walk
from tests.terraform.standin.schema import hint
from tests.terraform.standin.values import UNKNOWN, Object, Path, path_message

_NAME = r"[a-z](?:[-a-z0-9]{%d,%d}[a-z0-9])"
_PATTERNS = {
    "ValidateGCEName": r"(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)",
    "ValidateIAMCustomRoleID": r"[a-zA-Z0-9_.]{3,64}",
    "validateIAMMember": r"(?:allUsers|allAuthenticatedUsers|(?:principal|principalSet|principalHierarchy)://\S+"
    r"|(?:deleted:)?(?:domain|group|serviceAccount|user|projectOwner|projectEditor|projectViewer|iamMember):\S+)",
    "validateProjectServiceService": r"[a-z0-9.-]+\.[a-z]+",
    "verify.ValidateProjectID()": r"(?:[-a-z0-9.]{1,63}:)?[a-z][-a-z0-9]{4,28}[a-z0-9]",
    "verify.ValidateRFC1035Name(2, 63)": _NAME % (0, 61),
    "verify.ValidateRFC1035Name(6, 30)": _NAME % (4, 28),
}
_BETWEEN = re.compile(r"validation\.(Int|Float|StringLen)(?:Between|AtLeast)\(([\d.]+)(?:, ([\d.]+))?\)")
_SERVICE_ACCOUNT_LINK = re.compile(r"projects/[^/]+/serviceAccounts/[^/]+@[^/]+")
Diagnostic = dict[str, Any]


def refusals(block: Object, config: Object) -> list[Diagnostic]:
    """One diagnostic for each argument that breaks a rule."""
    out: list[Diagnostic] = []
    groups: set[tuple[str, ...]] = set()
    for schema, value, path in walk(block, config):
        problems = list(_value_problems(schema, value)) + list(_pair_problems(schema, value, path, config))
        keys = _exactly_one(schema, path)
        if keys and keys not in groups:
            groups.add(keys)
            problems += _exactly_one_problems(keys, config)
        out += [error(f"{_dotted(path)}: {problem}", path) for problem in problems]
    return out


def error(summary: str, path: Path = ()) -> Diagnostic:
    found: Diagnostic = {"severity": 1, "summary": summary}
    return {**found, "attribute": path_message(path)} if path else found


def _value_problems(schema: Object, value: object) -> Iterator[str]:
    if value is None or value is UNKNOWN or value == "":
        return
    allowed = hint(schema, "enum")
    if allowed and isinstance(value, str) and value not in allowed:
        yield f"expected one of {', '.join(map(str, allowed))}, got {value!r}"
    rule = hint(schema, "validate")
    if rule and not _valid(str(rule), value):
        yield f"{value!r} is refused by {rule}"


def _valid(rule: str, value: Any) -> bool:
    """Rules that are not known here pass."""
    if rule in _PATTERNS:
        return re.fullmatch(_PATTERNS[rule], value) is not None
    if bounds := _BETWEEN.fullmatch(rule):
        low, high = float(bounds[2]), float(bounds[3] or "inf")
        return low <= (len(value) if bounds[1] == "StringLen" else value) <= high
    try:
        if rule == "ValidateIpCidrRange":
            ipaddress.ip_network(value)
        elif rule == "ValidateBase64String":
            base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return False
    return not rule.startswith("verify.ValidateRegexp(ServiceAccountLink") or bool(
        _SERVICE_ACCOUNT_LINK.fullmatch(value)
    )


def _pair_problems(schema: Object, value: object, path: Path, config: Object) -> Iterator[str]:
    if not _given(value) or value is UNKNOWN:
        return
    for other in hint(schema, "conflicts_with") or ():
        if other != _dotted(path) and _given(_lookup(config, other)):
            yield f"conflicts with {other}"
    for other in hint(schema, "required_with") or ():
        if not _given(_lookup(config, other)):
            yield f"{other} must be given too"


def _exactly_one(schema: Object, path: Path) -> tuple[str, ...]:
    others = hint(schema, "exactly_one_of")
    return tuple(sorted({_dotted(path), *others})) if others else ()  # the lists leave out the argument itself


def _exactly_one_problems(keys: tuple[str, ...], config: Object) -> list[str]:
    values = [_lookup(config, key) for key in keys]
    given = sum(map(_given, values))
    if given == 1 or UNKNOWN in values:
        return []
    return [f"exactly one of {', '.join(keys)} must be given, not {given}"]


def _lookup(config: Object, dotted: str) -> object:
    """The value under a key such as http_target.0.uri."""
    value: object = config
    for part in dotted.split("."):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else value
    return value


def _given(value: object) -> bool:
    return value not in (None, [], {})


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
