"""When a node is to go: the one rule of the launcher, `launcher reap`, the idle-shutdown function and the guard."""

from __future__ import annotations

import dataclasses

from launcher.records.leases import KEEP_WARM_S, MAX_LIFETIME_S, TTL_S


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """Seconds, all of them. A forgotten node is gone within idle_s + 10 min by the function alone, and within
    idle_s + 20 min by the node's own timer alone."""

    idle_s: float = KEEP_WARM_S
    grace_s: float = 10 * 60.0  # from the first READY until a node without a lease counts as forgotten
    ttl_s: float = TTL_S
    margin_s: float = 10 * 60.0  # how much later than the function the node's own timer acts
    max_lifetime_s: float = MAX_LIFETIME_S
    interval_s: float = 5 * 60.0  # between two passes of the function
    drain_s: float = 5 * 60.0  # what a holder gets to end its job
