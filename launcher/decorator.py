"""@launcher.run: a function that runs on a Cloud TPU when it is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from launcher.errors import ConfigError, LauncherError, RemoteTraceback
from launcher.worker_context import on_worker

if TYPE_CHECKING:
    from launcher.estimating import Estimate
    from launcher.job import Job

P = ParamSpec("P")
R = TypeVar("R")


class RemoteFunction(Generic[P, R]):
    """What @launcher.run makes of a function. Calling it runs it remotely and returns its value."""

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        self._function = function
        self._options = options
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the call on the accelerator: streams its log here, returns its value or raises its exception.

        On a worker this is a plain call. Ctrl-C cancels the job and deletes its node; a second one leaves at once.
        """
        if on_worker():
            return self._function(*args, **kwargs)
        from launcher.calling import call

        try:
            value: R = call(self._function, args, kwargs, self._options)
        except BaseException as exc:
            _show_callers_line(exc)
            raise
        return value

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Uploads and records the call and returns its handle; a detached process carries it on."""
        if on_worker():
            raise ConfigError(
                f"{self._function.__qualname__}.submit(…) inside a job: call it, which runs it right here"
            )
        from launcher.calling import submit

        try:
            return submit(self._function, args, kwargs, self._options)
        except BaseException as exc:
            _show_callers_line(exc)
            raise

    def estimate(self, *, hours: float | None = None) -> Estimate:
        """What a call that runs for `hours` costs by list price; without them, what it can cost at most."""
        from launcher.estimating import estimate

        if not isinstance(hours, int | float | None) or isinstance(hours, bool):
            raise ConfigError(f"estimate(hours={hours!r}): give how long it runs, a number above 0")
        return estimate(self._function, self._options, None if hours is None else hours * 3600.0)

    def map(self, inputs: object, *, max_nodes: int = 1) -> NoReturn:
        raise ConfigError("f.map(…) comes with a later version: call f.submit(…) in a loop")

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A plain call, here."""
        return self._function(*args, **kwargs)

    def with_options(self, **options: Any) -> RemoteFunction[P, R]:
        """The same function with some options of launcher.run replaced. ConfigError lists what is wrong."""
        return _decorate(self._function, {**self._options, **options})

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method: the instance is the first argument and is sent along."""
        if instance is None:
            return self
        return RemoteFunction(self._function.__get__(instance, owner), self._options)

    def __repr__(self) -> str:
        return f"<launcher.run {self._function.__qualname__}>"


@overload
def run(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...


@overload
def run(function: str = ..., /, **options: Any) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def run(function: Any = None, /, **options: Any) -> Any:
    """Makes a function run on a Cloud TPU. Also bare: ``@launcher.run``.

    Options (all of them optional; LAUNCHER_* and [tool.launcher] in pyproject.toml give defaults):
      accelerator       Cloud TPU API spelling, "v5litepod-1"; aliases such as "v5e-1" are understood
      spot              capacity that Google may take back, at a fraction of the price
      spot_fallback     on demand where no zone has spot capacity
      zone              where; several are tried in this order and share wait_timeout_s
      reservation       the name of reserved capacity to use
      pool              which of the platform's pools; default: the first whose accelerator, spot and zones fit
      node              an existing node by name, which is never deleted; zone says where to look
      runtime_version   TPU VM image; default: the right one for the accelerator
      dependencies      requirement strings, instead of what the project declares
      env               plain environment settings, recorded with the job
      capture_env_vars  names and globs of variables taken from here (secrets): never written anywhere
      timeout_s         of the function itself, enforced on the worker
      wait_timeout_s    how long to wait for hardware
      keep_warm_s       how long the node waits for the next call (default 15 min); 0 deletes it at once
      max_lifetime_s    when the node is deleted whatever happens (default 24 h)
      project_root, name, labels, profile

    Raises ConfigError at decoration, listing every problem that can be told without a network.
    """
    if isinstance(function, str):
        options = {"accelerator": function, **options}
        function = None
    if function is not None:
        return _decorate(function, options)
    return lambda decorated: _decorate(decorated, options)


def _decorate(function: Any, options: dict[str, Any]) -> RemoteFunction[Any, Any]:
    if on_worker():
        return RemoteFunction(function, options)
    from launcher.settings import resolve

    problems = [*_unsupported(function)]
    try:
        resolve(options)
    except ConfigError as exc:
        problems.extend(exc.problems)
    if problems:
        raise ConfigError(problems)
    return RemoteFunction(function, options)


def _show_callers_line(exc: BaseException) -> None:
    """Drops the launcher's own frames from what is about the call, so that the message is not under them.

    A bug of the launcher keeps every frame.
    """
    if isinstance(exc, (LauncherError, KeyboardInterrupt)) or isinstance(exc.__cause__, RemoteTraceback):
        exc.__traceback__ = None
    if isinstance(exc, KeyboardInterrupt) and isinstance(exc.__context__, KeyboardInterrupt):
        exc.__suppress_context__ = True  # a second Ctrl-C needs no account of the first


def _unsupported(function: Any) -> list[str]:
    """Why this callable cannot be sent, with the fix."""
    name = getattr(function, "__qualname__", None) or repr(function)
    if isinstance(function, (staticmethod, classmethod)):
        kind = type(function).__name__
        inner = getattr(function.__func__, "__qualname__", "?")
        return [f"{inner}: @launcher.run stands above @{kind}: put @{kind} above @launcher.run instead"]
    if isinstance(function, RemoteFunction):
        return [f"{name}: @launcher.run is applied twice: remove one"]
    if hasattr(function, "cache_info") and hasattr(function, "__wrapped__"):
        return [
            f"{name}: @launcher.run stands above functools.lru_cache, whose cache cannot travel: "
            "put @lru_cache above @launcher.run (it then caches remote results here)"
        ]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return [f"{name} is async: give launcher.run a plain function that calls asyncio.run(…) itself"]
    if inspect.isgeneratorfunction(function):
        return [f"{name} is a generator: its values cannot be streamed; return list(…) of them instead"]
    if isinstance(function, type):
        return [f"{name} is a class: decorate a function or a method that makes and uses it"]
    if not callable(function):
        return [f"{function!r} is not callable: @launcher.run goes above a function"]
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        return [f"{name} is a {type(function).__name__}: wrap it in a plain function (def f(…): return …)"]
    return []
