"""What a call would cost at list prices, before anything is asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from launcher.accelerators import PRICES_AS_OF, PRICES_SOURCE, hourly_usd
from launcher.config import Profile, load_profile
from launcher.errors import ConfigError
from launcher.fleet import rules
from launcher.fleet.costs import span_words, usd_for, usd_words
from launcher.fleet.platform import platform_of
from launcher.settings import Settings


@dataclasses.dataclass(frozen=True)
class Estimate:
    """List prices, never a bill: in US dollars, of all nodes together; None is unknown. Times in seconds.

    `usd`: of the use itself, None without a duration. `usd_at_most`: with the time that its nodes may stay warm
    unused, and what the idle shutdown takes to notice; without a duration until the job's own limit.
    """

    what: str  # "2 x v5litepod-8, on demand, us-central1-a"
    usd_per_hour: float | None
    duration_s: float | None
    keep_warm_s: float
    at_most_s: float
    until: str  # what ends it where no duration is given, in words
    simulated: bool = False
    source: str = PRICES_SOURCE
    as_of: str = PRICES_AS_OF

    @property
    def usd(self) -> float | None:
        return None if self.duration_s is None else usd_for(self.usd_per_hour, self.duration_s)

    @property
    def usd_at_most(self) -> float | None:
        return usd_for(self.usd_per_hour, self.at_most_s)

    def __str__(self) -> str:
        if self.usd_per_hour is None:
            return f"{self.what}: the list price is unknown. What is known: launcher accelerators"
        note = f"list prices of {self.as_of}, not a bill{'; SIMULATED: nothing is paid' if self.simulated else ''}"
        most = f"at most {usd_words(self.usd_at_most)}"
        if self.duration_s is None:
            span = span_words(self.at_most_s)
            return f"{self.what}: {usd_words(self.usd_per_hour)} an hour, {most} {self.until} ({span}; {note})."
        idle = span_words(self.at_most_s - self.duration_s)
        return (
            f"{self.what}: {usd_words(self.usd)} for {span_words(self.duration_s)} at {usd_words(self.usd_per_hour)} "
            f"an hour. With {idle} idle until shutdown {most} ({note})."
        )


def estimate(function: Callable[..., Any], options: Mapping[str, Any], duration_s: float | None) -> Estimate:
    """Of one call of a decorated function; `options` as its decorator got them. ConfigError."""
    from launcher.calling import settings_of

    if duration_s is not None and not 0 < duration_s < math.inf:
        raise ConfigError(f"estimate(hours={duration_s / 3600:g}): give how long it runs, a number above 0")
    settings = settings_of(function, options)
    profile = load_profile(settings.profile, cloud_only=settings.cloud_only)
    return of_settings(rules.settle(platform_of(profile), settings), profile, duration_s)


def of_settings(settings: Settings, profile: Profile, duration_s: float | None, count: int = 1) -> Estimate:
    """Of `count` nodes in the first zone that is tried."""
    zone = (settings.zones or profile.zones)[0]
    price = hourly_usd(settings.accelerator, zone, settings.spot)
    keep_warm_s = profile.keep_warm_s if settings.keep_warm_s is None else settings.keep_warm_s
    max_lifetime_s = settings.max_lifetime_s or profile.max_lifetime_s
    until = "if it runs until its max_lifetime_s"
    if settings.timeout_s is not None:
        until = "if it runs until its timeout_s and then idles until shutdown"
    # The node's own timer is the last to act: so much later than the idle time.
    idle_s = keep_warm_s + 2 * profile.timer_margin_s
    used_s = duration_s or settings.timeout_s or max_lifetime_s
    market = "spot" if settings.spot else "on demand"
    return Estimate(
        what=f"{f'{count} x ' if count > 1 else ''}{settings.accelerator.name}, {market}, {zone}",
        usd_per_hour=None if price is None else price * count,
        duration_s=duration_s,
        keep_warm_s=keep_warm_s,
        at_most_s=min(used_s + idle_s, max(used_s, max_lifetime_s)),
        until=until,
        simulated=profile.simulated,
    )
