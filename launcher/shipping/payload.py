"""The call itself: cloudpickle of (function, args, kwargs), streamed into a file."""

from __future__ import annotations

import contextlib
import importlib.machinery
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

import cloudpickle

from launcher.errors import PackagingError
from launcher.shipping.agent_archive import only_here
from launcher.shipping.blobs import LocalBlob, Spool
from launcher.shipping.captured import Search, found_error
from launcher.shipping.culprit import locate

_MAX_WRAPPERS = 16


class CallPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """cloudpickle, except that a decorated function of an importable module goes by reference too.

    `modules`: names of the modules that the worker has to import.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=5)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        module = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", "")
        if isinstance(module, str) and only_here(module):  # a job's handle also holds its key
            raise TypeError(f"{module} of the launcher exists only where jobs are submitted")
        if isinstance(obj, types.FunctionType):
            reference = by_reference(obj)
            if reference is not None:
                self.modules.add(obj.__module__)
                return reference
        reduced = super().reducer_override(obj)
        by_name = reduced is NotImplemented and isinstance(obj, (type, types.FunctionType))
        if by_name or isinstance(obj, types.ModuleType):
            self.modules.add(str(module))
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
    name = function.__qualname__
    try:
        found = operator.attrgetter(name)(module)
        for _ in range(_MAX_WRAPPERS):
            if found is function:
                break
            found, name = found.__wrapped__, name + ".__wrapped__"
    except AttributeError:
        return None
    if found is not function or name == function.__qualname__:
        return None  # the plain case is cloudpickle's own
    return operator.attrgetter(name), (module,)


def write(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    search: Search,
    files: contextlib.ExitStack,
) -> tuple[LocalBlob, set[str]]:
    """The pickled call in a temporary file, which `files` closes, and the modules that it needs.

    Raises PackagingError naming the argument, keyword or variable that cannot be pickled, or that holds a
    captured value.
    """
    stream = search.stream()
    spool = Spool("the pickled call", stream.feed)
    files.callback(spool.close)
    pickler = CallPickler(cast(IO[bytes], spool))
    try:
        pickler.dump((function, args, dict(kwargs)))
    except PackagingError:
        raise
    except Exception as exc:  # pickling runs the code of any type: it can raise anything
        raise PackagingError(
            f"{locate(function, args, kwargs, _unpicklable)} cannot be pickled: {type(exc).__name__}: {exc}. "
            "Fix: send what it is made from, and make it inside the function."
        ) from exc
    if stream.found:
        where = locate(function, args, kwargs, lambda value: _holds(value, search))
        raise found_error(
            stream.found, f"the pickled call ({where})",
            f'read it in the function with os.environ["{stream.found}"], where it is set, instead of sending it.',
        )  # fmt: skip
    return spool.finish(), pickler.modules


class _Sink:
    """Takes a pickle and keeps nothing."""

    def __init__(self, feed: Callable[[bytes], None] = lambda data: None) -> None:
        self._feed = feed

    def write(self, data: bytes | pickle.PickleBuffer) -> int:
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
