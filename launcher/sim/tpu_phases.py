"""How long the phases of nodes and queued resources last."""

from __future__ import annotations

from collections.abc import Mapping

#: Seconds of each phase, unless `start --delay PHASE=S` says otherwise.
DEFAULT_DELAYS_S: Mapping[str, float] = {
    "creating": 0.01,
    "accepted": 0.01,
    "waiting": 0.02,
    "provisioning": 0.05,
    "suspending": 0.02,
    "deleting": 0.02,
    "updating": 0.01,
    "stopping": 0.02,
    "starting": 0.02,
}


def check(delays_s: Mapping[str, float]) -> None:
    """Raise ValueError for an unknown phase or a negative delay."""
    for phase, seconds in delays_s.items():
        if phase not in DEFAULT_DELAYS_S:
            raise ValueError(f"no phase is called {phase!r}; there are: {', '.join(DEFAULT_DELAYS_S)}")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"the delay of {phase!r} is {seconds:g} s; it must not be negative")
