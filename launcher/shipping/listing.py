"""What would be sent: the listing behind `launcher files`, and behind packing itself."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from launcher.errors import PackagingError
from launcher.shipping.ignore import CREDENTIAL, LAUNCHERIGNORE
from launcher.shipping.project import Place, place_of
from launcher.shipping.walk import Entry, LeftOut, file_entry, files_of, walk

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
    def files(self) -> list[Entry]:
        return files_of(self.entries)

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    def check_size(self, max_bytes: int) -> None:
        """PackagingError with the largest files where the files add up to more than `max_bytes`."""
        if self.root is None or self.total_bytes <= max_bytes:
            return
        largest = sorted(self.files, key=lambda entry: (-entry.size, entry.path))[:10]
        listing = "\n".join(f"  {_megabytes(entry.size):>12}  {entry.path}" for entry in largest)
        raise PackagingError(
            f"the files of {self.root} add up to {_megabytes(self.total_bytes)}, the limit is "
            f"{_megabytes(max_bytes)}. The largest:\n{listing}\n"
            f"Fix: name what the job does not need in {self.root / LAUNCHERIGNORE} (`launcher files` shows the "
            "rest), or raise max_archive_bytes."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def describe(start: str | os.PathLike[str] | None = None) -> Listing:
    """What a call from this script or folder (default: the current folder) would send.

    Raises PackagingError for what is not there or cannot be read.
    """
    start = Path.cwd() if start is None else Path(start)
    if not start.exists():
        raise PackagingError(f"no such file or folder: {start}")
    return listing_of(place_of(start))


def listing_of(place: Place) -> Listing:
    """The files of a place. Reads ignore files only."""
    if place.root is None:
        return Listing(None, True, (), (), (place.why,))
    if place.lone:
        entry = file_entry(place.lone, os.stat(place.root / place.lone))
        return Listing(place.root, True, (entry,), (), (place.why,))
    entries, left_out = walk(place.root)
    return Listing(place.root, False, tuple(entries), tuple(left_out), tuple(_notices(left_out)))


def _notices(left_out: list[LeftOut]) -> list[str]:
    secret = [item.path for item in left_out if item.why == CREDENTIAL]
    links = [f"{item.path}: {item.why}" for item in left_out if item.why.startswith("link ")]
    notices = []
    if secret:
        notices.append(f"left out: {_named(secret)} ({CREDENTIAL}; to send one: `!name` in {LAUNCHERIGNORE})")
    if links:
        notices.append(f"left out: {_named(links)}")
    return notices


def _named(items: list[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more (`launcher files` shows them)" if more > 0 else "")
