"""A user's exception, as text that is readable on the client and as a pickle that the client can load."""

from __future__ import annotations

import ast
import copyreg
import io
import linecache
import os
import pickle
import tokenize
import traceback
import unicodedata
from collections.abc import Callable
from typing import Any

from launcher.agent import values

_MAX_MESSAGE = 20_000  # characters
_MAX_TRACEBACK = 100_000
_OWN = os.path.dirname(__file__)
_USED_BY_TRACEBACK = (ast, tokenize, unicodedata)  # it imports them only when it shows source lines


def warm_up() -> None:
    """Formats one traceback, so that everything this needs is imported."""
    try:
        raise ValueError
    except ValueError as exc:
        "".join(traceback.format_exception(exc))


def describe(exc: BaseException, *, project: str, client_root: str) -> dict[str, Any]:
    """An ErrorInfo: type, message and traceback, with the project's files named as they are on the client."""
    kind = type(exc)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {
        "kind": "exception",
        "message": shortened(_message(exc), _MAX_MESSAGE),
        "type_name": module + kind.__qualname__,
        "base": next(c.__name__ for c in kind.__mro__ if c.__module__ == "builtins"),
        "traceback": shortened(_formatted(exc, project, client_root), _MAX_TRACEBACK),
    }


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:  # the user's __str__
        return f"<its message cannot be shown: {type(broken).__name__}>"


def shortened(text: str, limit: int = _MAX_MESSAGE) -> str:
    # Lone surrogates (names of files that are not UTF-8) cannot be written as JSON in UTF-8.
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text) - limit} characters left out …\n{text[-limit // 2 :]}"


def _formatted(exc: BaseException, project: str, client_root: str) -> str:
    shown = exc.__traceback__
    while shown is not None and os.path.dirname(shown.tb_frame.f_code.co_filename) == _OWN:
        shown = shown.tb_next  # the runner's own frames
    try:
        text = "".join(traceback.format_exception(type(exc), exc, shown))
    except Exception as broken:  # formatting calls the user's __str__ and __repr__
        text = "".join(traceback.format_tb(shown)) + f"{type(exc).__qualname__} (not shown: {broken!r:.200})\n"
    return text.replace(project + os.sep, client_root.rstrip("/") + "/") if client_root else text


def find_sources(project: str, client_root: str) -> None:
    """Code that came by value names its file on the client: from now on its source is found in the project here."""
    update = linecache.updatecache

    def updatecache(filename: str, module_globals: Any = None) -> list[str]:
        lines = update(filename, module_globals)
        if not lines and filename.startswith(client_root.rstrip("/") + "/"):
            lines = update(os.path.join(project, os.path.relpath(filename, client_root)))
        return lines

    linecache.updatecache = updatecache


class _BareExceptions(values.Pickler):
    """Writes exceptions so that loading them does not call their __init__, whose arguments nobody kept."""

    def __init__(self, file: Any, args: Callable[[BaseException], tuple[Any, ...]], *, state: bool) -> None:
        super().__init__(file, protocol=5)
        self._args = args
        self._state = state

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            state = dict(obj.__dict__) if self._state else {}
            return copyreg.__newobj__, (type(obj), *self._args(obj)), state or None  # type: ignore[attr-defined]
        return super().reducer_override(obj)


def dump(exc: BaseException, path: str, limit: int) -> bool:
    """Pickles `exc` to `path` in the most faithful way that can be loaded again; False where there is none.

    Only ordinary exceptions: a KeyboardInterrupt from a worker is not one of the client.
    """
    if not isinstance(exc, Exception):
        return False
    # As it is; without its __init__; the same without its attributes; with nothing but its message.
    ways: list[tuple[Callable[[Any], Any], bool]] = [
        (lambda file: values.Pickler(file, protocol=5), True),
        (lambda file: _BareExceptions(file, lambda it: it.args, state=True), False),
        (lambda file: _BareExceptions(file, lambda it: it.args, state=False), True),
        (lambda file: _BareExceptions(file, lambda it: (_message(it),), state=False), False),
    ]
    for pickler, compare in ways:
        buffer = io.BytesIO()
        try:
            pickler(buffer).dump(exc)
            again = pickle.loads(buffer.getbuffer())
        except Exception:  # the user's classes run their own code: the next way
            continue
        # An __init__ that makes its message from its arguments, and is called with the message, doubles it.
        same = type(again) is type(exc) and (not compare or _message(again) == _message(exc))
        if same and buffer.tell() <= limit:
            with open(path, "wb") as file:
                file.write(buffer.getbuffer())
            return True
    return False
