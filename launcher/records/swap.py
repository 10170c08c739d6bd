"""Compare-and-swap on records, over any store with generations.

Every write states its precondition and carries a random token: after a refused write or a lost answer the
record is read again, and one's own token in it means that the write was done.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object as read. `updated` and `now` are epoch seconds by the store's clock, of the same answer."""

    data: bytes
    generation: int
    updated: float
    now: float


class RecordStore(Protocol):
    """The part of an object store that records need. Errors other than "precondition failed" are raised."""

    def read(self, name: str) -> Stored | None:
        """The object, or None where there is none (404 only)."""

    def create(self, name: str, data: bytes) -> int | None:
        """Writes with ifGenerationMatch=0. The new generation, or None where the object exists (412)."""

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        """Writes with ifGenerationMatch=generation. The new generation, or None on 412."""


def create_once(store: RecordStore, name: str, data: bytes) -> bytes:
    """Creates a create-only record and returns the record that stands: ours, or the earlier one.

    `data` is JSON with a `token`. Ours stands where the returned bytes have the same token.
    """
    if store.create(name, data) is not None:
        return data
    stored = store.read(name)
    if stored is None:
        raise RuntimeError(f"{name} was refused as existing, then not found: somebody deletes job records")
    return stored.data


def swap(store: RecordStore, name: str, data: bytes, generation: int) -> int | None:
    """Replaces generation `generation` of a record by `data`; the new generation, or None when somebody else won."""
    written = store.replace(name, data, generation) if generation else store.create(name, data)
    if written is not None:
        return written
    stored = store.read(name)
    if stored is not None and same_token(stored.data, data):
        return stored.generation
    return None


def same_token(one: bytes, other: bytes) -> bool:
    """Whether two records were written by the same write."""
    return bool(token(one)) and token(one) == token(other)


def token(data: bytes) -> str:
    document = json.loads(data)
    return str(document.get("token", "")) if isinstance(document, dict) else ""
