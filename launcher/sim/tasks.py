"""Named background tasks: at most one change at a time happens to each simulated resource."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from launcher.sim import clock

_log = logging.getLogger(__name__)


class Tasks:
    """The running change of each resource, by the resource's full name."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, change: Coroutine[Any, Any, None]) -> None:
        """Run `change` of resource `name`; the caller made sure that none is running."""
        context = contextvars.Context()  # not the one of the request that began it
        context.run(clock.change.set, name)
        task = asyncio.get_running_loop().create_task(change, name=name, context=context)
        self._running[name] = task
        task.add_done_callback(self._ended)

    def under_way(self) -> tuple[str, ...]:
        """The resources that are changing."""
        return tuple(self._running)

    async def stop(self, name: str) -> None:
        """Cancel the change of `name`, if one runs, and wait until it has ended."""
        task = self._running.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def settled(self, name: str | None = None) -> None:
        """Wait until no change runs: of `name`, or of anything."""
        while tasks := [task for key, task in self._running.items() if name in (None, key)]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # let the callback that removes an ended task run

    async def close(self) -> None:
        """Cancel everything and wait for it."""
        while self._running:
            for name in list(self._running):
                await self.stop(name)
            await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._running.get(task.get_name()) is task:
            del self._running[task.get_name()]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("change of %s failed", task.get_name(), exc_info=error)


async def together(changes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all `changes` at once, each to its end; then raise the first error there was."""
    for outcome in await asyncio.gather(*changes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
