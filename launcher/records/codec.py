"""Dataclasses to JSON and back. Readers ignore unknown keys, so that older and newer versions meet."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

SCHEMA = 1  # written into every record; raised only when an old reader would misread a new record


def encode(record: Any) -> bytes:
    """One dataclass as canonical JSON (sorted keys, UTF-8)."""
    document = {"schema": SCHEMA, **_plain(record)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(cls: type[T], data: bytes | str) -> T:
    """The record in `data` as `cls`. Raises ValueError naming the field that is missing or malformed."""
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise ValueError(f"{cls.__name__}: not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise ValueError(f"{cls.__name__}: expected a JSON object, got {type(document).__name__}")
    return _build(cls, document)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(cls: type[T], document: dict[str, Any]) -> T:
    values = {}
    for name, read, required in fields(typing.cast(Any, cls)):
        if name in document:
            try:
                values[name] = read(document[name])
            except (TypeError, ValueError) as exc:
                raise ValueError(f"{cls.__name__}.{name}: {exc}") from exc
        elif required:
            raise ValueError(f"{cls.__name__}.{name} is missing")
    return cls(**values)


# Looked up once: a pass over the fleet reads thousands of leases.
@functools.cache
def fields(cls: Any) -> tuple[tuple[str, Callable[[Any], Any], bool], ...]:
    """Name, reader and whether it must be there, of each field of a dataclass."""
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return tuple(
        (each.name, _reader(hints[each.name]), each.default is missing and each.default_factory is missing)
        for each in dataclasses.fields(cls)
    )


def _reader(hint: Any) -> Callable[[Any], Any]:
    """What makes a value of that type of what JSON has."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = _reader(next(a for a in arguments if a is not type(None)))
        optional = type(None) in arguments
        return lambda value: None if value is None and optional else inner(value)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(map(item, _expect(list, value)))
    if origin is dict:
        item = _reader(arguments[1])
        return lambda value: {str(key): item(each) for key, each in _expect(dict, value).items()}
    if dataclasses.is_dataclass(hint):
        return lambda value: _build(typing.cast(Any, hint), _expect(dict, value))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint
    if hint is float:
        return lambda value: float(_expect((int, float), value))
    return (lambda value: value) if hint is Any else lambda value: _expect(hint, value)


def _expect(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {getattr(kind, '__name__', 'number')}, got {type(value).__name__}")
    return value
