"""What would be sent: the listing behind `launcher files`, and behind packing itself."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from launcher.errors import PackagingError
from launcher.shipping.ignore import CREDENTIAL, LAUNCHERIGNORE, VERSION_CONTROL
from launcher.shipping.project import Place, place_of
from launcher.shipping.walk import FILE, Entry, LeftOut, files_of, walker

_NAMED = 5  # how many files a notice names before it counts the rest


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of one project. `root` is None and all is empty where there is nothing to send."""

    root: Path | None
    lone: bool
    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]
    notices: tuple[str, ...]

    @property
    def files(self) -> tuple[Entry, ...]:
        return tuple(files_of(list(self.entries)))

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    def largest(self, count: int = 10) -> tuple[Entry, ...]:
        return tuple(sorted(self.files, key=lambda entry: (-entry.size, entry.path))[:count])


def describe(
    start: str | os.PathLike[str] | None = None, *, project_root: str | os.PathLike[str] | None = None
) -> Listing:
    """What a call from this script or folder (default: the current folder) would send.

    Raises ConfigError for a bad `project_root` or `start`, PackagingError for what cannot be read.
    """
    start = Path.cwd() if start is None else Path(start)
    if not start.exists():
        raise PackagingError(f"no such file or folder: {start}")
    return listing_of(place_of(start, project_root))


def listing_of(place: Place) -> Listing:
    """The files of a place. Reads ignore files only, and those only when they changed."""
    if place.root is None:
        return Listing(None, True, (), (), (place.why,))
    if place.lone:
        info = os.stat(place.root / place.lone)
        entry = Entry(place.lone, FILE, info.st_size, bool(info.st_mode & 0o100), "",
                      info.st_mtime_ns, info.st_ctime_ns, info.st_ino)  # fmt: skip
        return Listing(place.root, True, (entry,), (), (place.why,))
    entries, left_out = walker(place.root).walk()
    return Listing(place.root, False, tuple(entries), tuple(left_out), tuple(_notices(left_out)))


def _notices(left_out: list[LeftOut]) -> list[str]:
    secret = [item.path for item in left_out if item.why in (CREDENTIAL, VERSION_CONTROL)]
    links = [item for item in left_out if item.why.startswith("link ")]
    notices = []
    if secret:
        notices.append(
            f"left out: {_named(secret)} ({CREDENTIAL} or {VERSION_CONTROL}; "
            f"a line `!name` in {LAUNCHERIGNORE} sends it)"
        )
    if links:
        notices.append(f"left out: {_named([f'{item.path}: {item.why}' for item in links])}")
    return notices


def _named(items: list[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more (`launcher files` shows them)" if more > 0 else "")
