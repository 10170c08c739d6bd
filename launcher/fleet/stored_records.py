"""Records from the bucket. One that cannot be read is the bucket's fault, not a bug here."""

from __future__ import annotations

from typing import TypeVar

from launcher.errors import CloudError
from launcher.records import codec
from launcher.records.swap import RecordStore, Stored

T = TypeVar("T")


def read(store: RecordStore, name: str, kind: type[T]) -> T | None:
    """The record of that name, or None where there is none. CloudError where it is not one."""
    stored = store.read(name)
    return None if stored is None else parse(stored, name, kind)


def parse(stored: Stored, name: str, kind: type[T]) -> T:
    """The record that was read under that name. CloudError where it is not one."""
    try:
        return codec.decode(kind, stored.data)
    except ValueError as exc:
        raise CloudError(f"{name} in the bucket is damaged or not ours: {exc}") from exc
