"""Requests side by side, in threads that keep no program from ending."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def parallel(function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """`function` of every item, in the items' order, `most` at a time.

    After an error, which comes in its item's turn, or a Ctrl-C no further item is begun, and nobody waits for those
    that were. A ThreadPoolExecutor would, until their last retry, and the interpreter again when it ends.
    """
    work = [(item, Future[R]()) for item in items]
    waiting = deque(work)
    try:
        for _ in range(min(most, len(work))):
            threading.Thread(target=_work, args=(function, waiting), name="parallel", daemon=True).start()
        for _, future in work:
            yield future.result()
    finally:
        waiting.clear()


def _work(function: Callable[[T], R], waiting: deque[tuple[T, Future[R]]]) -> None:
    while True:
        try:
            item, future = waiting.popleft()
        except IndexError:
            return
        try:
            future.set_result(function(item))
        except BaseException as exc:  # for whoever asks for the result
            future.set_exception(exc)
