"""Dataclasses to JSON and back. Readers ignore unknown keys, so that older and newer versions meet."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
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
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass by contract
        if field.name in document:
            try:
                values[field.name] = _coerce(hints[field.name], document[field.name])
            except (TypeError, ValueError) as exc:
                raise ValueError(f"{cls.__name__}.{field.name}: {exc}") from exc
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{cls.__name__}.{field.name} is missing")
    return cls(**values)


def _coerce(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _coerce(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_coerce(arguments[0], item) for item in _expect(list, value))
    if origin is dict:
        return {str(k): _coerce(arguments[1], item) for k, item in _expect(dict, value).items()}
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(Any, hint), _expect(dict, value))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if hint is float:
        return float(_expect((int, float), value))
    return value if hint is Any else _expect(hint, value)


def _expect(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {getattr(kind, '__name__', kind)}, got {type(value).__name__}")
    return value
