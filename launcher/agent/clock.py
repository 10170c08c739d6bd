"""The worker's time: the machine's own; on a simulated worker, the simulator's, which tests advance.

LAUNCHER_CLOCK names a folder there. Its file `offset` holds two numbers: how many seconds the simulator's time is
ahead of this machine's, and how wrong this worker's time of day is besides. A file named <pid>.<thread>_<until>_<pid>
says that a thread sleeps until that moment of `monotonic()`: time is not advanced past it before it is awake and back.
A wait of less than _SHORT_S looks for something again and again: it lasts as long as the machine says, and time may be
advanced meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time as machine

_POLL_S = 0.01
_SHORT_S = 5.0


def _offsets() -> tuple[float, float]:
    folder = os.environ.get("LAUNCHER_CLOCK")
    if not folder:
        return 0.0, 0.0
    with open(os.path.join(folder, "offset"), encoding="ascii") as file:
        ahead, wrong = file.read().split()
    return float(ahead), float(wrong)


def monotonic() -> float:
    """Seconds since some moment. They never step back."""
    return machine.monotonic() + _offsets()[0]


def time() -> float:
    """Seconds since the epoch, as this worker has them."""
    return machine.time() + sum(_offsets())


def sleep(seconds: float) -> None:
    wait(None, seconds)


def wait(event: threading.Event | None, seconds: float) -> bool:
    """Wait until `event` is set (None: never), at most `seconds`. Returns whether it is."""
    event = event or threading.Event()
    folder = os.environ.get("LAUNCHER_CLOCK")
    if not folder:
        return event.wait(seconds)
    until = monotonic() + seconds if seconds >= _SHORT_S else math.inf
    pid = os.getpid()
    asleep = os.path.join(folder, f"{pid}.{threading.get_native_id()}_{until:.6f}_{pid}")
    open(asleep, "x").close()
    try:
        if until == math.inf:
            return event.wait(seconds)
        while (left_s := until - monotonic()) > 0:
            if event.wait(min(left_s, _POLL_S)):
                return True
        return event.is_set()
    finally:
        with contextlib.suppress(FileNotFoundError):  # the simulator tidies up after who is late
            os.unlink(asleep)
