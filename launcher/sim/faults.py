"""Faults by name, injected by `launcher sim inject` and taken where the simulated thing would go wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

#: What a fault carries: seconds, a number, or a word.
Value = float | str

AT_ONCE = "at once"  # happens to what is there
NEXT = "next"  # waits for the next matching event and is used up by it
STANDING = "standing"  # holds until it is taken back


@dataclass(frozen=True)
class Takes:
    """What a fault's value is: in words, and from text. `parse` raises ValueError."""

    meaning: str
    parse: Callable[[str], Value]


@dataclass(frozen=True)
class Kind:
    """How one fault behaves. `scopes`: what it can be narrowed to; `needs`: what must be given.

    `default`: its value where none is given. `repeatable`: several with different values stand side by side.
    """

    when: frozenset[str]
    scopes: frozenset[str] = frozenset({"node", "zone"})
    needs: frozenset[str] = frozenset()
    takes: Takes | None = None
    default: Value = ""
    repeatable: bool = False


class FaultError(ValueError):
    """What was asked for is no fault, or not one of this form; the message says what there is."""


@dataclass
class Fault:
    """One injected fault. `left`: how many events it still strikes, None while it stands."""

    name: str
    node: str | None
    zone: str | None
    value: Value
    left: int | None

    @property
    def seconds(self) -> float:
        return float(self.value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _at_least(least: float, parse: Callable[[str], float]) -> Callable[[str], Value]:
    def bounded(text: str) -> Value:
        if (value := parse(text)) < least:
            raise ValueError(text)
        return value

    return bounded


def _one_of(*words: str) -> Takes:
    def word(text: str) -> Value:
        if text not in words:
            raise ValueError(text)
        return text

    return Takes(" or ".join(words), word)


def _dotted(text: str) -> Value:
    if text.count(".") != 2 or not all(text.split(".")):
        raise ValueError(text)
    return text


_ZONE, _VALUE = frozenset({"zone"}), frozenset({"value"})
_NOTHING: frozenset[str] = frozenset()
_NOW, _NEXT, _STANDS = frozenset({AT_ONCE}), frozenset({NEXT}), frozenset({STANDING})

KINDS: dict[str, Kind] = {
    "preemption": Kind(_NOW),
    "dropped-connection": Kind(_NOW),
    "changed-host-key": Kind(_NOW),
    "suspended": Kind(_NOW | _NEXT),
    "stockout": Kind(_NEXT),
    "quota": Kind(_NEXT, takes=_one_of("create", "failed"), default="create"),
    "slow-operation": Kind(_NEXT, takes=Takes("seconds, not negative", _at_least(0, _finite)), default=600.0),
    "gcs-503": Kind(_NEXT, scopes=_NOTHING),
    "lost-answer": Kind(_NEXT, scopes=_ZONE, takes=_one_of("tpu", "storage")),
    "forbidden": Kind(_STANDS, scopes=_ZONE, needs=_ZONE),
    "zone-down": Kind(_STANDS, scopes=_ZONE, needs=_ZONE),
    "page-size": Kind(_STANDS, scopes=_NOTHING, needs=_VALUE, takes=Takes("a number from 1", _at_least(1, int))),
    "clock-skew": Kind(_STANDS, needs=_VALUE, takes=Takes("seconds", _finite)),
    "missing-permission": Kind(
        _STANDS, _NOTHING, _VALUE, Takes("a permission, such as tpu.nodes.create", _dotted), repeatable=True
    ),
    "disabled-api": Kind(
        _STANDS, _NOTHING, _VALUE, Takes("a service, such as tpu.googleapis.com", _dotted), repeatable=True
    ),
}


def kind_of(name: str) -> Kind:
    """Raises FaultError for a name that no fault has."""
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, 1)
        hint = f"did you mean {near[0]!r}? There are" if near else "there are"
        raise FaultError(f"no fault is called {name!r}; {hint}: {', '.join(sorted(KINDS))}")
    return KINDS[name]


def checked(
    name: str, *, node: str | None = None, zone: str | None = None, count: int = 1, value: str | None = None
) -> Fault:
    """The fault that these words mean. Raises FaultError for what that fault does not take or cannot do without."""
    kind = kind_of(name)
    given = {"node": node, "zone": zone}
    for scope, chosen in given.items():
        if chosen is not None and scope not in kind.scopes:
            raise FaultError(f"{name} does not strike one {scope}: leave out --{scope}")
    for need in sorted(kind.needs):
        if (given | {"value": value})[need] is None:
            meaning = f": {kind.takes.meaning}" if kind.takes and need == "value" else ""
            raise FaultError(f"{name} needs --{need}{meaning}")
    if count < 1:
        raise FaultError(f"count is {count}; it must be at least 1")
    if count > 1 and STANDING in kind.when:
        raise FaultError(f"{name} stands until it is taken back (--off): leave out --count")
    return Fault(name, node, zone, _parse(name, kind, value), None if STANDING in kind.when else count)


def _parse(name: str, kind: Kind, text: str | None) -> Value:
    if text is None:
        return kind.default
    if kind.takes is None:
        raise FaultError(f"{name} takes no value: leave out --value")
    try:
        return kind.takes.parse(text)
    except ValueError:
        raise FaultError(f"the value of {name} is {text!r}; it must be {kind.takes.meaning}") from None


class Faults:
    """What was injected and still waits or stands. Used from the simulator's one event loop only."""

    def __init__(self) -> None:
        self._present: list[Fault] = []

    def inject(
        self, name: str, *, node: str | None = None, zone: str | None = None, count: int = 1, value: str | None = None
    ) -> None:
        """Arm a fault for its next `count` events, or let it stand. `node`: id or full name; None is any.

        Raises FaultError.
        """
        fault = checked(name, node=node, zone=zone, count=count, value=value)
        if fault.left is None:  # the newer one counts
            same = (name, node, zone, *([fault.value] if KINDS[name].repeatable else []))
            self._present = [each for each in self._present if _key(each, len(same)) != same]
            self._present.insert(0, fault)
        else:
            self._present.append(fault)

    def clear(self, name: str, *, node: str | None = None, zone: str | None = None, value: str | None = None) -> int:
        """Take back every such fault; what is None is any. Returns how many there were. Raises FaultError."""
        kind = kind_of(name)
        wanted = None if value is None else _parse(name, kind, value)
        gone = [
            each
            for each in self._present
            if each.name == name
            and node in (None, each.node)
            and zone in (None, each.zone)
            and wanted in (None, each.value)
        ]
        self._present = [each for each in self._present if each not in gone]
        return len(gone)

    def take(
        self, name: str, *, node: str | None = None, zone: str | None = None, value: Value | None = None
    ) -> Fault | None:
        """The fault that the event at `node` (full name) in `zone` fails with, one count of it used up.

        `value`: only a fault with this value, or with none.
        """
        found = self.find(name, node=node, zone=zone, value=value)
        if found is not None and found.left is not None:
            found.left -= 1
            if found.left == 0:
                self._present.remove(found)
        return found

    def find(
        self, name: str, *, node: str | None = None, zone: str | None = None, value: Value | None = None
    ) -> Fault | None:
        """As `take`, with nothing used up."""
        for each in self._present:
            here = each.name == name and matches(each.node, node) and each.zone in (None, zone)
            if here and (value is None or each.value in ("", value)):
                return each
        return None

    def values(self, name: str) -> list[str]:
        """The values of every `name` that stands."""
        return [str(each.value) for each in self._present if each.name == name]

    def pending(self) -> list[dict[str, object]]:
        """What waits or stands, for `status`; `count` is None for what stands."""
        return [
            {"name": each.name, "node": each.node, "zone": each.zone, "value": each.value, "count": each.left}
            for each in self._present
        ]


def _key(fault: Fault, length: int) -> tuple[object, ...]:
    return (fault.name, fault.node, fault.zone, fault.value)[:length]


def matches(wanted: str | None, node: str | None) -> bool:
    """Whether `wanted` (None, a node id or a full resource name) means the node of full name `node`."""
    return wanted is None or (node is not None and (node == wanted or node.rsplit("/", 1)[-1] == wanted))
