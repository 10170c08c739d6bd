"""The one clock behind every delay and timestamp of the simulator. It runs as this machine's does, and can be advanced.

Advancing is a small discrete-event simulation: time moves to the next moment at which somebody wakes, in the simulator
or on a worker, and goes on when that one sleeps again, is gone, or has had PATIENCE_S of real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

from launcher.sim.state import write_text
from launcher.sim.worker_clock import WorkerClock

#: How long, really, who was woken may take to sleep again.
PATIENCE_S = 5.0
_LOOK_S = 0.002
_YIELDS = 20  # of the event loop: more than any change needs from the end of one sleep to its next

#: Which change the present task belongs to (tasks.py).
change: contextvars.ContextVar[str] = contextvars.ContextVar("change", default="")


@dataclass
class _Sleep:
    until: float
    change: str
    alarm: asyncio.Event = field(default_factory=asyncio.Event)


class Clock:
    """Seconds since the epoch that never step back; with `file`, not over a restart either. Of one event loop."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._changes: Callable[[], Iterable[str]] = tuple
        self._epoch = time.time() - time.monotonic()
        self._ahead_s = float(file.read_text()) if file is not None and file.exists() else 0.0
        self._asleep: dict[asyncio.Task[object] | None, _Sleep] = {}
        self._requests: set[asyncio.Task[object] | None] = set()
        self._workers: set[WorkerClock] = set()
        self._advancing = asyncio.Lock()

    @property
    def ahead_s(self) -> float:
        """How much it has been advanced in all."""
        return self._ahead_s

    def now(self) -> float:
        """Seconds since the epoch, monotone."""
        return time.monotonic() + self._epoch + self._ahead_s

    def date(self) -> str:
        """Now, as the Date header of an answer."""
        return formatdate(self.now(), usegmt=True)

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock."""
        mine = _Sleep(self.now() + seconds, change.get())
        task = asyncio.current_task()
        self._asleep[task] = mine
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(mine.alarm.wait(), max(seconds, 0.0))
        finally:
            del self._asleep[task]

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        """Within, the present task handles a request: time does not go on without it."""
        task = asyncio.current_task()
        self._requests.add(task)
        try:
            yield
        finally:
            self._requests.discard(task)

    def follow(self, changes: Callable[[], Iterable[str]]) -> None:
        """`changes` names the changes that are under way: time does not go on while one of them is awake."""
        self._changes = changes

    def attach(self, worker: WorkerClock, *, sleeps: bool) -> None:
        """Let a worker that boots have this time. `sleeps`: something will sleep there soon."""
        worker.begin(self._ahead_s, PATIENCE_S if sleeps else 0.0)
        self._workers.add(worker)

    def detach(self, worker: WorkerClock) -> None:
        """Its processes are gone."""
        self._workers.discard(worker)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking whoever sleeps meanwhile, in order."""
        async with self._advancing:
            target = self.now() + seconds
            await self._settled()
            while True:
                due = min([target, *(sleep.until for sleep in self._asleep.values()), *self._wakes_of_workers()])
                self._jump(due)
                await self._settled()
                if due >= target:
                    return

    def _wakes_of_workers(self) -> Iterator[float]:
        return (worker.next_wake() + self._epoch for worker in self._workers)

    def _jump(self, moment: float) -> None:
        self._ahead_s += max(0.0, moment - self.now())
        if self._file is not None:
            write_text(self._file, repr(self._ahead_s))
        now = self.now()
        for worker in self._workers:
            worker.wake(now - self._epoch, self._ahead_s)
        for sleep in self._asleep.values():
            if sleep.until <= now:
                sleep.alarm.set()

    async def _settled(self) -> None:
        """Return when everybody who is awake now sleeps or is gone."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            for _ in range(_YIELDS):
                await asyncio.sleep(0)
            if self._all_asleep():
                return
            if time.monotonic() > give_up_at:
                for worker in self._workers:
                    worker.give_up()
                return
            await asyncio.sleep(_LOOK_S)

    def _all_asleep(self) -> bool:
        asleep = {sleep.change for sleep in self._asleep.values() if not sleep.alarm.is_set()}
        return (
            asleep.issuperset(self._changes())
            and self._asleep.keys() >= self._requests
            and all(worker.is_back() for worker in self._workers)
        )


def timestamp(seconds: float) -> str:
    """`seconds` since the epoch as Google's APIs write a time: RFC 3339, UTC, microseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError when it is none."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
