"""The call itself: cloudpickle of (function, args, kwargs), streamed into a file."""

from __future__ import annotations

import importlib.machinery
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

import cloudpickle

from launcher.errors import PackagingError
from launcher.shipping.captured import Search, found_error
from launcher.shipping.culprit import locate
from launcher.shipping.local_blob import Spool

PROTOCOL = 5
_MAX_WRAPPERS = 16


class CallPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """cloudpickle, except that a decorated function of an importable module goes by reference too.

    `modules`: names of the modules that the worker has to import.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=PROTOCOL)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType):
            reference = by_reference(obj)
            if reference is not None:
                self.modules.add(obj.__module__)
                return reference
        reduced = super().reducer_override(obj)
        if isinstance(obj, types.ModuleType):
            self.modules.add(obj.__name__)
        elif reduced is NotImplemented and isinstance(obj, (type, types.FunctionType)):
            self.modules.add(str(obj.__module__))  # it goes by its name
        return reduced


def by_reference(function: types.FunctionType) -> tuple[Any, ...] | None:
    """How to find a function that hides behind decorators under its own name; None for any other.

    Without this cloudpickle would send it by value, and all its module's globals that it uses with it.
    """
    module = sys.modules.get(function.__module__)
    if module is None or module.__name__ == "__main__" or "<locals>" in function.__qualname__:
        return None
    if not isinstance(getattr(module, "__spec__", None), importlib.machinery.ModuleSpec):
        return None
    try:
        found = operator.attrgetter(function.__qualname__)(module)
    except AttributeError:
        return None
    name = function.__qualname__
    for _ in range(_MAX_WRAPPERS):
        if found is function:
            # The plain case is cloudpickle's own.
            return None if name == function.__qualname__ else (operator.attrgetter(name), (module,))
        wrapped = getattr(found, "__wrapped__", None)
        if wrapped is None:
            return None
        found, name = wrapped, name + ".__wrapped__"
    return None


def write(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], search: Search
) -> tuple[Spool, set[str]]:
    """The pickled call in a temporary file, and the modules that it needs.

    Raises PackagingError naming the argument, keyword or variable that cannot be pickled, or that holds a
    captured value.
    """
    stream = search.stream()
    spool = Spool("the pickled call", stream)
    try:
        pickler = CallPickler(cast(IO[bytes], spool))
        try:
            pickler.dump((function, args, dict(kwargs)))
        except PackagingError:
            raise
        except Exception as exc:  # pickling runs the code of any type: it can raise anything
            where = locate(function, args, kwargs, _unpicklable)
            raise PackagingError(
                f"{where} cannot be pickled: {type(exc).__name__}: {exc}. "
                "Fix: send what it is made from, and make it inside the function."
            ) from exc
        if stream.found:
            where = locate(function, args, kwargs, lambda value: _holds(value, search))
            raise found_error(
                stream.found, f"the pickled call ({where})",
                f'read it in the function with os.environ["{stream.found}"], where it is set, instead of sending it.',
            )  # fmt: skip
    except BaseException:
        spool.close()
        raise
    return spool, pickler.modules


class _Sink:
    """Takes a pickle and keeps nothing."""

    def __init__(self, feed: Callable[[bytes], None] | None = None) -> None:
        self._feed = feed

    def write(self, data: bytes | pickle.PickleBuffer) -> int:
        if self._feed is not None:
            self._feed(bytes(data))
        return memoryview(data).nbytes


def _unpicklable(value: Any) -> bool:
    try:
        CallPickler(cast(IO[bytes], _Sink())).dump(value)
    except Exception:  # as above: any type's own code
        return True
    return False


def _holds(value: Any, search: Search) -> bool:
    stream = search.stream()
    try:
        CallPickler(cast(IO[bytes], _Sink(stream.feed))).dump(value)
    except Exception:  # as above; what cannot be pickled by itself is not what was found
        return False
    return bool(stream.found)
