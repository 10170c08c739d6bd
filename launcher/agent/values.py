"""Pickling what the user's code returns: in a stream, JAX arrays as numpy, and by name where it cannot be sent."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import cloudpickle

_MAX_DEPTH = 8
_MAX_PARTS = 10_000  # of one value, tried one by one to find the culprit


class Unsendable(Exception):
    """The value cannot be sent; the message names it, or its part, and says what to do."""


class _LimitReached(Exception):
    pass


class _Limited:
    """A file for the pickler that refuses to grow beyond `limit` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit

    def write(self, data: Any) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise _LimitReached
        return self._file.write(data)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """cloudpickle, with JAX arrays at any depth written as numpy arrays."""

    def reducer_override(self, obj: Any) -> Any:
        jax = sys.modules.get("jax")
        if jax is not None and isinstance(obj, getattr(jax, "Array", ())):
            return sys.modules["numpy"].asarray(obj).__reduce_ex__(5)
        return super().reducer_override(obj)


def dump(value: Any, path: str, limit: int) -> None:
    """Pickles `value` to the file `path`; Unsendable, and no file, where that is impossible or larger than `limit`."""
    try:
        with open(path, "wb") as file:
            Pickler(_Limited(file, limit), protocol=5).dump(value)
        return
    except _LimitReached:
        problem = Unsendable(
            f"the result is larger than the limit of {limit} bytes: nothing was uploaded. Return less, write large "
            "things to the bucket yourself, or raise LAUNCHER_MAX_RESULT_BYTES"
        )
    except Exception as exc:  # pickling runs the classes' own code: anything can come out of it
        problem = _unpicklable(value, exc)
    os.unlink(path)
    raise problem


def _unpicklable(value: Any, exc: Exception) -> Unsendable:
    where, culprit = _culprit("result", value)
    kind = type(culprit)
    return Unsendable(
        f"the function's result cannot be pickled: {where} is of type {kind.__module__}.{kind.__qualname__} "
        f"({type(exc).__name__}: {exc}). Return plain data, arrays or what pickles; the job's log is kept"
    )


def _culprit(where: str, value: Any) -> tuple[str, Any]:
    """The innermost part of `value` that cannot be pickled, and how to reach it."""
    for _ in range(_MAX_DEPTH):
        bad = (part for part in itertools.islice(_parts(value), _MAX_PARTS) if not _pickles(part[1]))
        name, part = next(bad, ("", value))
        if not name:
            break
        where, value = where + name, part
    return where, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r:.60}]", item
            yield f" key {key!r:.60}", key
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f" item {item!r:.60}", item
    elif not isinstance(value, type):
        for name, item in getattr(value, "__dict__", {}).items():
            yield f".{name}", item


def _pickles(value: Any) -> bool:
    try:
        with open(os.devnull, "wb") as nowhere:
            Pickler(nowhere, protocol=5).dump(value)
    except Exception:  # as in dump
        return False
    return True
