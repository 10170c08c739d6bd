"""Whether the platform is frozen, and how an operator lifts that."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from launcher.errors import Conflict, FleetFrozen, NotFound
from launcher.fleet import job_records
from launcher.fleet.platform import Platform
from launcher.records import codec
from launcher.records.freeze import Freeze
from launcher.records.paths import FREEZE, new_token
from launcher.records.swap import swap

_SWAP_TRIES = 8


def read(platform: Platform) -> Freeze | None:
    """The freeze that is in force. CloudError where it cannot be read, or where the control bucket is gone."""
    profile = platform.profile
    try:
        found = job_records.read(platform.control_store, FREEZE, Freeze)
    except NotFound as exc:
        if not profile.control_bucket:  # the jobs' bucket, whose first use says so
            return None
        raise NotFound(
            f"There is no bucket {profile.control_bucket}, which profile {profile.name} names as control_bucket: "
            f"platform {profile.platform} was destroyed, and with it what would end idle nodes, so nothing new is "
            "started. What is left: launcher nodes. Then join another platform with launcher init --bucket NAME, or "
            f"forget this one with launcher profile delete {profile.name}"
        ) from exc
    return None if found is None or found.lifted else found


def check(platform: Platform) -> None:
    """Before anything that costs money. FleetFrozen, or CloudError where nobody can tell: money is not spent then."""
    freeze = read(platform)
    if freeze is not None:
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(freeze.since))
        raise FleetFrozen(
            f"Platform {platform.profile.platform} is frozen since {since}: {words(freeze)}. Running jobs go on, "
            "nothing new is started. Who is responsible for the budget can lift it: launcher unfreeze"
        )


def unfreeze(platform: Platform, by: str) -> Freeze | None:
    """Lifts the freeze until the budget's next interval; what was lifted, None where nothing was frozen."""

    def lift(standing: Freeze | None) -> Freeze | None:
        if standing is None or standing.lifted:
            return None
        return dataclasses.replace(standing, lifted=platform.control_store.time(), lifted_by=by, token=new_token())

    return change(platform, lift)


def change(platform: Platform, step: Callable[[Freeze | None], Freeze | None]) -> Freeze | None:
    """Applies `step` to the record by compare-and-swap; what it wrote. A step that returns None changes nothing."""
    store = platform.control_store
    for _ in range(_SWAP_TRIES):
        stored = store.read(FREEZE)
        wanted = step(None if stored is None else job_records.parse(stored, FREEZE, Freeze))
        if wanted is None:
            return None
        if swap(store, FREEZE, codec.encode(wanted), stored.generation if stored else 0) is not None:
            return wanted
    raise Conflict(f"{FREEZE} changed {_SWAP_TRIES} times in a row under our hands. Try again.")


def words(freeze: Freeze) -> str:
    amounts = f"{freeze.cost:,.2f} of {freeze.limit:,.2f} {freeze.currency}"
    return f"budget {freeze.budget!r} is used up ({amounts.rstrip()})"
