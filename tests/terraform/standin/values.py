"""Terraform's values as Python's: objects are dicts, lists and sets lists; a value may be unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgpack

Object = dict[str, Any]
Path = tuple[str | int, ...]


class Unknown:
    """Known after apply."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def load(value: dict[str, Any] | None) -> Any:
    if not value:
        return None
    if value.get("msgpack"):
        # Every extension is an unknown value, some with what is known about it.
        return msgpack.unpackb(value["msgpack"], ext_hook=lambda code, data: UNKNOWN, strict_map_key=False)
    return json.loads(value["json"])


def dump(value: Any) -> dict[str, bytes]:
    return {"msgpack": msgpack.packb(value, default=_extension)}


def _extension(value: Any) -> msgpack.ExtType:
    if value is not UNKNOWN:
        raise TypeError(f"not a value of Terraform's: {value!r}")
    return msgpack.ExtType(0, b"\0")


def path_message(path: Path) -> dict[str, Any]:
    return {"steps": [{"attribute_name": p} if isinstance(p, str) else {"element_key_int": p} for p in path]}


def is_unknown(value: Any) -> bool:
    """Whether any part of it is."""
    if isinstance(value, dict):
        return any(is_unknown(each) for each in value.values())
    if isinstance(value, list):
        return any(is_unknown(each) for each in value)
    return value is UNKNOWN


def is_empty(value: Any) -> bool:
    """Google's provider cannot tell null from the zero value of a type."""
    return value is None or value in ("", 0, [], {})


def items(nested: Object, value: Any) -> Iterator[tuple[str | int | None, Object]]:
    """The (key, object) of each block in the value of a nested block type; the key of a single one is None."""
    if nested["nesting_mode"] == "single":
        if isinstance(value, dict):
            yield None, value
    elif isinstance(value, list):
        yield from ((at, each) for at, each in enumerate(value) if isinstance(each, dict))


def no_value(block: Object) -> Object:
    """An object of that schema in which nothing is set."""
    value: Object = dict.fromkeys(block.get("attributes", {}))
    for name, nested in block.get("block_types", {}).items():
        value[name] = None if nested["nesting_mode"] == "single" else []
    return value
