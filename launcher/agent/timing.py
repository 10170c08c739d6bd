"""Every waiting time of the agent in one place, and the clock that its loops wait with."""

from __future__ import annotations

import dataclasses
import threading
import time

from launcher.records.leases import RENEW_S, STOP_MARGIN_S


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds, all of them."""

    grace_s: float = 10.0  # between SIGTERM and SIGKILL of a job that is stopped
    stray_grace_s: float = 1.0  # the same for what a job that ended by itself left behind
    exit_bound_s: float = 10.0  # for what the user's code registered to run at exit
    cancel_poll_s: float = 10.0
    status_s: float = 30.0
    spacing_s: float = 1.0  # GCS takes about one write a second to one name
    renew_s: float = RENEW_S
    stop_margin_s: float = STOP_MARGIN_S
    client_grace_s: float = 60.0  # how long a connected client has to delete the node itself
    metadata_tries: int = 4


class Clock:
    """Real time. Tests give one of their own, so that nobody waits."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Sleeps, or less long when `event` is set meanwhile; returns whether it is set."""
        if event is not None:
            return event.wait(max(seconds, 0.0))
        time.sleep(max(seconds, 0.0))
        return False
