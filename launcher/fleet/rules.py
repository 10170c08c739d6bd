"""The platform's pools, as platform.json has them: which one a call gets, and what it may ask of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from launcher.accelerators import Accelerator, hourly_usd, parse
from launcher.errors import ConfigError
from launcher.fleet.platform import Platform
from launcher.fleet.request import NodeRequest
from launcher.records.platform import PlatformFile, Pool, StandingNode
from launcher.setting_types import nearest
from launcher.settings import Settings, several_hosts


def settle(platform: Platform, settings: Settings) -> Settings:
    """What a call asks for, completed by the pools that allow it; as it was where the platform has none.

    ConfigError names the pool, its rule and who can change it. CloudError where nobody can tell the rules. Nothing is
    decided for a node that the call names.
    """
    if settings.node:
        return settings
    file = platform.file
    if file is None or not file.pools:
        if settings.pool:
            raise ConfigError(f"pool = {settings.pool!r}: platform {platform.profile.platform} has no pools.")
        return settings
    settings = _shaped(file, settings)
    found = _fitting(file, settings, settings.spot)
    if found is None:
        if not settings.pool and any(stands_for(each, settings) for each in file.nodes):
            return settings  # no pool, but a node that is there already
        raise ConfigError(_no_pool(file, settings))
    pools = [found]
    if settings.spot_fallback:
        other = _fitting(file, dataclasses.replace(settings, pool="", zones=settings.zones or found.zones), False)
        if other is None:
            raise ConfigError(f"spot_fallback on demand: {_no_pool(file, dataclasses.replace(settings, spot=False))}")
        pools.append(other)
    return _within(pools, settings)


def python_index(platform: Platform) -> str:
    """The package index that workers have instead of the internet; "" where they have that. CloudError, ConfigError."""
    file = platform.file
    return "" if file is None or file.internet else file.python_index


def _shaped(file: PlatformFile, settings: Settings) -> Settings:
    """A call that names its pool, and says nothing else, gets that pool's accelerator."""
    if not settings.pool:
        return settings
    pool = file.pools.get(settings.pool)
    if pool is None:
        names = nearest(settings.pool, sorted(file.pools))
        raise ConfigError(f"pool = {settings.pool!r}: platform {file.platform} has no such pool.{names}")
    if "accelerator" not in settings.given:
        accelerator = parse(pool.accelerator)
        if accelerator.hosts > 1:
            raise ConfigError(f"pool = {pool.name!r}: {several_hosts(accelerator)}")
        settings = dataclasses.replace(settings, accelerator=accelerator)
        if "runtime_version" not in settings.given:
            settings = dataclasses.replace(settings, runtime_version=accelerator.default_runtime_version)
    return settings if "spot" in settings.given else dataclasses.replace(settings, spot=pool.spot)


def _fitting(file: PlatformFile, settings: Settings, spot: bool) -> Pool | None:
    """The pool that is named, or the first by name, whose nodes are what is asked for."""
    for name in [settings.pool] if settings.pool else sorted(file.pools):
        if not any(_misfits(file.pools[name], settings, spot)):
            return file.pools[name]
    return None


def _misfits(pool: Pool, settings: Settings, spot: bool) -> Iterator[str]:
    """What of a pool is not what is asked for."""
    if _canonical(pool.accelerator) != settings.accelerator.name:
        yield f"accelerator {pool.accelerator}"
    if pool.spot != spot:
        yield _market(pool.spot)
    if not set(settings.zones) <= set(pool.zones):
        yield f"zones {', '.join(pool.zones)}"
    if settings.reservation and _short(settings.reservation) != _short(pool.reservation or ""):
        yield f"reservation {pool.reservation or 'none'}"
    given = "runtime_version" in settings.given
    if given and pool.runtime_version and pool.runtime_version != settings.runtime_version:
        yield f"runtime_version {pool.runtime_version}"


def _no_pool(file: PlatformFile, settings: Settings) -> str:
    version = settings.runtime_version if "runtime_version" in settings.given else None
    asked = _words(settings.accelerator.name, settings.spot, settings.reservation, version, settings.zones)
    if settings.pool:
        misfits = ", ".join(_misfits(file.pools[settings.pool], settings, settings.spot))
        return (
            f"pool {settings.pool!r} of platform {file.platform} has not what the call asks for ({asked}); it has "
            f"{misfits}. Ask for that, or leave pool out; an operator of the platform can change tpu_pools."
        )
    pools = "; ".join(
        f"{name}: {_words(pool.accelerator, pool.spot, pool.reservation, pool.runtime_version, pool.zones)}"
        for name, pool in sorted(file.pools.items())
    )
    return (
        f"no pool of platform {file.platform} has {asked}. There are: {pools}. Ask for one of these; an operator of "
        "the platform can add another to tpu_pools in Terraform."
    )


def _within(pools: Sequence[Pool], settings: Settings) -> Settings:
    """The settings with the pools' values where the call gives none. ConfigError where one is beyond their limits."""
    problems = []
    for pool in pools:
        for name, limit in (("keep_warm_s", pool.keep_warm_s), ("max_lifetime_s", pool.max_lifetime_s)):
            asked = getattr(settings, name)
            if asked is not None and asked > limit:
                problems.append(
                    f"{name} = {asked:g} is more than pool {pool.name!r} allows, {limit:g}: ask for less. "
                    f"{may_raise(pool, name)}"
                )
        if settings.timeout_s is not None and settings.timeout_s > pool.max_lifetime_s:
            problems.append(
                f"timeout_s = {settings.timeout_s:g} is longer than nodes of pool {pool.name!r} live, "
                f"{pool.max_lifetime_s:g} s: ask for less. {may_raise(pool, 'max_lifetime_s')}"
            )
    first = pools[0]
    zones = settings.zones or first.zones
    cheap = tuple(zone for zone in zones if all(_affordable(pool, settings.accelerator, zone) for pool in pools))
    if not cheap:
        problems += [
            _too_dear(pool, settings.accelerator, zones) for pool in pools if pool.max_usd_per_hour is not None
        ]
    if problems:
        raise ConfigError(problems)
    pinned = first.runtime_version if "runtime_version" not in settings.given else None
    return dataclasses.replace(
        settings,
        zones=cheap,
        reservation=first.reservation or "",
        runtime_version=pinned or settings.runtime_version,
        keep_warm_s=_least(settings.keep_warm_s, (pool.keep_warm_s for pool in pools)),
        max_lifetime_s=_least(settings.max_lifetime_s, (pool.max_lifetime_s for pool in pools)),
        pools=tuple(pool.name for pool in pools),
    )


def _least(asked: float | None, limits: Iterable[float]) -> float:
    return min(limits) if asked is None else asked


def _affordable(pool: Pool, accelerator: Accelerator, zone: str) -> bool:
    if pool.max_usd_per_hour is None:
        return True
    price = hourly_usd(accelerator, zone, pool.spot)
    return price is not None and price <= pool.max_usd_per_hour


def _too_dear(pool: Pool, accelerator: Accelerator, zones: Sequence[str]) -> str:
    prices = []
    for zone in zones:
        price = hourly_usd(accelerator, zone, pool.spot)
        prices.append(f"{zone}: unknown" if price is None else f"{zone}: ${price:,.2f}")
    return (
        f"{accelerator.name}, {_market(pool.spot)}, costs more by list price than pool {pool.name!r} allows, "
        f"${pool.max_usd_per_hour:,.2f} an hour ({'; '.join(prices)}): ask for another zone. "
        f"{may_raise(pool, 'max_usd_per_hour')}"
    )


def may_raise(pool: Pool, name: str) -> str:
    """Who can change a limit, and where."""
    return f'An operator of the platform can raise tpu_pools["{pool.name}"].{name} in Terraform.'


def stands_for(node: StandingNode, asked: Settings | NodeRequest) -> bool:
    """Whether a registered node is what is asked for. One on demand will do for spot: it is paid for anyway."""
    accelerator = asked.accelerator if isinstance(asked.accelerator, str) else asked.accelerator.name
    return (
        _canonical(node.accelerator) == accelerator
        and (node.zone in asked.zones or not asked.zones)
        and node.runtime_version in ("", asked.runtime_version)
        and (asked.spot or not node.spot)
        and not asked.labels
        and not asked.reservation
    )


def _canonical(accelerator: str) -> str:
    try:
        return parse(accelerator).name
    except ConfigError:  # a type that this version does not know
        return accelerator


def _market(spot: bool) -> str:
    return "spot" if spot else "on demand"


def _words(accelerator: str, spot: bool, reservation: str | None, version: str | None, zones: Sequence[str]) -> str:
    """What is asked for, or what a pool has."""
    held = f"reservation {_short(reservation)}" if reservation else ""
    return ", ".join(filter(None, [accelerator, held or _market(spot), version, *zones]))


def _short(reservation: str) -> str:
    return reservation.rpartition("/")[2]
