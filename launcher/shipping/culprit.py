"""Which part of a call has a property: the one argument, keyword or variable to name in an error."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MAX_DEPTH = 12


def locate(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], bad: Callable[[Any], bool]
) -> str:
    """The innermost part for which `bad` holds, in words: `argument 2 (dict) at ['lock'] (_thread.lock)`."""
    parts = [(f"argument {index}", value) for index, value in enumerate(args, 1)]
    parts += [(f"keyword argument {name!r}", value) for name, value in kwargs.items()]
    name, value = next((part for part in parts if bad(part[1])), (f"the function {_name(function)}", function))
    path, innermost = "", value
    seen = {id(value)}
    for _ in range(_MAX_DEPTH):
        for step, child in _children(innermost, bad):
            if id(child) not in seen and bad(child):
                seen.add(id(child))
                path, innermost = path + step, child
                break
        else:
            break
    here = f"{name} ({_type(value)})"
    return f"{here} at {path.strip()} ({_type(innermost)})" if path else here


def _children(value: Any, bad: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"[{_type(key) if bad(key) else _short(key)}]", item  # a bad key may be a secret: it is not shown
            yield f" key of type {_type(key)}", key
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((" element", item) for item in value)
    elif isinstance(value, types.MethodType):
        yield f" its {_type(value.__self__)}", value.__self__
        yield from _variables(value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from _variables(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif isinstance(getattr(value, "__dict__", None), dict):
        yield from ((f".{name}", item) for name, item in vars(value).items())


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    """What travels with a function that is sent by value: closure, globals that it names, defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            yield f" closure variable {name!r}", cell.cell_contents
    for name in sorted(_global_names(function.__code__) & function.__globals__.keys()):
        yield f" global variable {name!r}", function.__globals__[name]
    for index, value in enumerate(function.__defaults__ or (), 1):
        yield f" default value {index}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f" default value of {name!r}", value


def _global_names(code: types.CodeType) -> set[str]:
    inner = [_global_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def _short(key: Any) -> str:
    text = repr(key) if isinstance(key, (str, int)) else _type(key)
    return text if len(text) <= 40 else text[:37] + "..."


def _type(value: Any) -> str:
    kind = type(value)
    known = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or _type(function))
