"""Readers of settings: a value from Python, TOML or the environment, or ValueError with what it must be."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

ZONE = re.compile(r"[a-z]+(-[a-z]+)+\d+-[a-z0-9]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("must be a string that is not empty")
    return value.strip()


def texts(value: Any) -> tuple[str, ...]:
    """Several strings; one with commas where it comes from the environment."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, Mapping | bytes) or not isinstance(value, Iterable):
        raise ValueError("must be a list of strings")
    return tuple(text(each) for each in value)


def zones(value: Any) -> tuple[str, ...]:
    found = texts(value)
    for zone in found:
        if not ZONE.fullmatch(zone):
            raise ValueError(f"has {zone!r}, which is no zone's name such as 'us-central1-a'")
    if not found:
        raise ValueError("must name at least one zone")
    return tuple(dict.fromkeys(found))


def flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise ValueError("must be true or false")


def seconds(value: Any) -> float:
    found = _number(value)
    if found <= 0:
        raise ValueError("must be more than 0 seconds")
    return found


def seconds_or_zero(value: Any) -> float:
    found = _number(value)
    if found < 0:
        raise ValueError("must be a number of seconds, 0 or more")
    return found


def duration_s(value: str) -> float:
    """Seconds of `30m`, `2h`, `1h30m`, `7d` or `90s`."""
    match = _DURATION.fullmatch(value.strip().lower())
    units = (86400, 3600, 60, 1)
    total = sum(int(part or 0) * unit for part, unit in zip(match.groups(), units, strict=True)) if match else 0
    if total <= 0:
        raise ValueError("must be a time such as 30m, 2h or 1h30m")
    return float(total)


def count(value: Any) -> int:
    found = _number(value)
    if found < 0 or found != int(found):
        raise ValueError("must be a whole number, 0 or more")
    return int(found)


def size(value: Any) -> int:
    found = count(value)
    if found == 0:
        raise ValueError("must be a number of bytes, more than 0")
    return found


def path(value: Any) -> str:
    try:
        return text(os.fspath(value))
    except TypeError as exc:
        raise ValueError("must be a folder's path") from exc


def variables(value: Any) -> dict[str, str]:
    """Environment variables for the job."""
    found = _table(value)
    for name, each in found.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"has {name!r}, which is no environment variable's name")
        if not isinstance(each, str) or "\0" in each:
            raise ValueError(f'has a value for {name} that is not a string; write it as one, such as "1"')
    return found


def labels(value: Any) -> dict[str, str]:
    """Google's rules for labels."""
    found = _table(value)
    for name, each in found.items():
        if not _LABEL_KEY.fullmatch(name) or not isinstance(each, str) or not _LABEL_VALUE.fullmatch(each):
            raise ValueError(f"has {name!r}: {each!r}; labels are up to 63 of a-z, 0-9, '_' and '-'")
        if name.startswith("launcher-"):
            raise ValueError(f"has {name!r}; labels that begin with launcher- are the launcher's own")
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as exc:
        raise ValueError("must be a number") from exc
    if not math.isfinite(found):
        raise ValueError("must be a finite number")
    return found


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("must be a table of strings")
    return dict(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the right one, or all there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(names)}."
