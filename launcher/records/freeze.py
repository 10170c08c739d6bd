"""freeze.json in the control bucket: the budget is used up, so nothing new is started."""

from __future__ import annotations

import dataclasses

from launcher.records.paths import new_token


@dataclasses.dataclass(frozen=True)
class Freeze:
    """Of one interval of one budget. Times are epoch seconds by Google's clocks; amounts in `currency`.

    A freeze that was lifted stays written down, so that later messages of the same interval do not undo it.
    """

    interval: float  # the start of what the budget counts, as the message says: of a month
    budget: str
    cost: float
    limit: float
    currency: str
    since: float
    message_id: str  # of the first message that said so, and when it was published
    published: float
    lifted: float = 0.0  # 0 while it is in force
    lifted_by: str = ""
    token: str = dataclasses.field(default_factory=new_token)
