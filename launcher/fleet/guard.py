"""The budget guard: what a budget's notification, pushed by Pub/Sub, does to the fleet.

Google tells the state of a budget several times a day, whatever the state is, and a message can come twice.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import json
import math
from collections.abc import Callable
from typing import Any

from launcher.errors import ConfigError
from launcher.fleet import freeze
from launcher.fleet.platform import Platform
from launcher.fleet.reaper import Entry, Report, log_json, reap
from launcher.records.freeze import Freeze
from launcher.records.policy import PolicySettings, frozen_verdict

_APART_S = 600.0  # two messages that are further apart were not caused by one wrong number


@dataclasses.dataclass(frozen=True)
class BudgetMessage:
    """One notification. Amounts in `currency`; `published` and `interval` (start of the month) in epoch seconds."""

    message_id: str
    published: float
    budget: str
    cost: float
    limit: float
    currency: str
    interval: float
    budget_id: str = ""


@dataclasses.dataclass(frozen=True)
class Guarded:
    """What a message led to. `report`: of the pass over the fleet, None where there was none."""

    frozen: bool
    reason: str
    report: Report | None = None


def parse(envelope: Any) -> BudgetMessage:
    """The notification in the body of a Pub/Sub push request. ConfigError where it is none."""
    try:
        message = envelope["message"]
        budget = json.loads(base64.b64decode(message["data"], validate=True))
        parsed = BudgetMessage(
            message_id=str(message["messageId"]),
            published=_epoch_s(message["publishTime"]),
            budget=str(budget["budgetDisplayName"]),
            cost=float(budget["costAmount"]),
            limit=float(budget["budgetAmount"]),
            currency=str(budget.get("currencyCode", "")),
            interval=_epoch_s(budget["costIntervalStart"]),
            budget_id=str(message.get("attributes", {}).get("budgetId", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise ConfigError(f"This is no budget notification in a Pub/Sub push: {type(exc).__name__}: {exc}") from exc
    if not (math.isfinite(parsed.cost) and math.isfinite(parsed.limit)):
        raise ConfigError(f"The notification of budget {parsed.budget!r} has an amount that is no number")
    return parsed


def on_budget_message(
    platform: Platform,
    message: BudgetMessage,
    settings: PolicySettings,
    *,
    budget_id: str = "",
    drain_busy: bool = False,
    dry_run: bool = False,
    log: Callable[[Entry], object] = log_json,
) -> Guarded:
    """Past its limit: freezes the fleet and condemns what is idle. Anything else, or another budget's than `budget_id`
    ("": of any): nothing.

    `drain_busy`: nodes in use are drained too, but never by one message alone. A message that comes again finds
    nothing left to do, or finishes what its first delivery began.
    """
    if budget_id and message.budget_id != budget_id:
        return Guarded(False, f"budget {message.budget!r} ({message.budget_id or 'no id'}) is not the platform's")
    if message.limit <= 0 or message.cost < message.limit:
        return Guarded(False, f"{message.cost:,.2f} of {message.limit:,.2f} {message.currency}: within the budget")
    # What stands after this message, or why it changes nothing. The step may run twice, its last run counts.
    standing: list[Freeze | str] = []

    def step(found: Freeze | None) -> Freeze | None:
        standing[:] = [_after(platform, message, found)]
        after = standing[0]
        return None if isinstance(after, str) or after == found or dry_run else after

    freeze.change(platform, step)
    after = standing[0]
    if isinstance(after, str):
        return Guarded(False, after)
    confirmed = after.message_id != message.message_id and abs(message.published - after.published) >= _APART_S
    reason = freeze.words(after)
    judge = functools.partial(frozen_verdict, reason=reason, drain_busy=drain_busy and confirmed)
    report = reap(platform, settings, dry_run=dry_run, log=log, judge=judge, skip_fresh=False)
    return Guarded(True, reason, report)


def _after(platform: Platform, message: BudgetMessage, found: Freeze | None) -> Freeze | str:
    """The freeze that stands once this message was heard, or why it is of no account."""
    if found is not None and message.interval < found.interval:
        return "the message is about an earlier interval of the budget"
    if found is not None and message.interval == found.interval:
        return f"unfrozen by {found.lifted_by} until the budget's next interval" if found.lifted else found
    return Freeze(
        interval=message.interval,
        budget=message.budget,
        cost=message.cost,
        limit=message.limit,
        currency=message.currency,
        since=platform.control_store.time(),
        message_id=message.message_id,
        published=message.published,
    )


def _epoch_s(text: Any) -> float:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
