"""Faults by name, armed by `launcher sim inject` and taken where the simulated thing would go wrong."""

from __future__ import annotations

from dataclasses import dataclass

#: Faults that wait for the next matching event (a creation, a request) and are used up by it.
ARMED = frozenset({"stockout", "gcs-503"})
#: Faults that happen at once to nodes that are READY.
IMMEDIATE = frozenset({"preemption", "dropped-connection", "changed-host-key"})
NAMES = ARMED | IMMEDIATE


class UnknownFault(ValueError):
    """No fault has this name; the message lists those that exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no fault is called {name!r}; there are: {', '.join(sorted(NAMES))}")


@dataclass
class _Armed:
    name: str
    node: str | None
    zone: str | None
    left: int


class Faults:
    """What was injected and has not happened yet. Used from the simulator's one event loop only."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def inject(self, name: str, *, node: str | None = None, zone: str | None = None, count: int = 1) -> None:
        """Arm fault `name` for the next `count` events of `node` (id or full name) and `zone`; None is any.

        Raises UnknownFault, or ValueError for a count below 1.
        """
        if name not in NAMES:
            raise UnknownFault(name)
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        self._armed.append(_Armed(name, node, zone, count))

    def take(self, name: str, *, node: str | None = None, zone: str | None = None) -> bool:
        """Whether the event at `node` (full name) in `zone` fails with fault `name`; uses one count up."""
        for armed in self._armed:
            if armed.name == name and matches(armed.node, node) and armed.zone in (None, zone):
                armed.left -= 1
                if armed.left == 0:
                    self._armed.remove(armed)
                return True
        return False

    def pending(self) -> list[dict[str, object]]:
        """What is still armed, for `status`."""
        return [
            {"name": armed.name, "node": armed.node, "zone": armed.zone, "count": armed.left} for armed in self._armed
        ]


def matches(wanted: str | None, node: str | None) -> bool:
    """Whether `wanted` (None, a node id or a full resource name) means the node of full name `node`."""
    return wanted is None or (node is not None and (node == wanted or node.rsplit("/", 1)[-1] == wanted))
