"""What a worker knows of a lease that it writes, so that one process can pass it on to another."""

from __future__ import annotations

import dataclasses
import math

from launcher.agent.control import Timing


@dataclasses.dataclass(frozen=True)
class Holding:
    """Moments are of the monotonic clock, which is one for all processes of the machine."""

    tokens: tuple[str, ...]  # of the last write, and of later ones whose answer was lost
    confirmed: float  # when the request was made by which the lease was last seen to be ours
    ttl_s: float
    external: bool = False
    busy_s: float = 0.0  # for how long attempts have run that no write has told of yet
    drained_at: float = math.inf  # when a DRAINING lease wants us gone
    reason: str = ""  # of its draining

    def stop_at(self, timing: Timing) -> float:
        """No job's code may run after it, for the lease can be over soon."""
        return min(self.confirmed + self.ttl_s - timing.stop_margin_s, self.drained_at - timing.grace_s)


@dataclasses.dataclass(frozen=True)
class Handover:
    """The lease as a supervisor leaves it to the front. `usable`: the user's code ran, so the node works."""

    holding: Holding
    usable: bool
