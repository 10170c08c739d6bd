"""One look at a project's folder: every entry that is sent, and why the rest is not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from launcher.errors import PackagingError
from launcher.shipping.ignore import GITIGNORE, LAUNCHERIGNORE, Line, Rules, marked_folder, parse, rules

FILE, FOLDER, LINK = "file", "dir", "link"
_BY_NAME = attrgetter("name")


class Entry(NamedTuple):
    """What is sent. `path` is relative to the root; size 0 and no times for folders and links."""

    path: str
    kind: str
    size: int = 0
    executable: bool = False
    target: str = ""  # of a link, relative to the link's folder
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0


class LeftOut(NamedTuple):
    """What is not sent, and why. A folder's path ends in a slash and stands for all that is in it."""

    path: str
    why: str


def walk(root: Path) -> tuple[list[Entry], list[LeftOut]]:
    """Entries in a fixed order, folders before what is in them. PackagingError where a folder cannot be read."""
    walker = _Walk(os.path.realpath(root))
    walker.descend(walker.root, "", _around(walker.root))
    return walker.entries, walker.left_out


def file_entry(path: str, info: os.stat_result) -> Entry:
    executable = bool(info.st_mode & stat.S_IXUSR)
    return Entry(path, FILE, info.st_size, executable, "", info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


class _Walk:
    def __init__(self, root: str) -> None:
        self.root = root
        self.entries: list[Entry] = []
        self.left_out: list[LeftOut] = []

    def descend(self, folder: str, prefix: str, above: Rules | None) -> None:
        try:
            with os.scandir(folder) as iterator:
                found = sorted(iterator, key=_BY_NAME)
        except FileNotFoundError:
            return  # it went away while we looked
        except OSError as exc:
            raise PackagingError(
                f"cannot read the folder {folder}: {exc.strerror}. Fix its permissions, or name it in {LAUNCHERIGNORE}."
            ) from exc
        names = {entry.name for entry in found}
        if prefix:
            marked = marked_folder(names)
            if marked is not None:
                self.left_out.append(LeftOut(prefix, marked))
                return
            self.entries.append(Entry(prefix[:-1], FOLDER))
        git, own = _ignore_files(folder, names)
        here = rules(above, git, own, skip=len(prefix)) if git or own or above is None else above
        for item in found:
            is_dir = item.is_dir(follow_symlinks=False)
            path = f"{prefix}{item.name}/" if is_dir else prefix + item.name
            why = here.why_not(path)
            if why is not None:
                self.left_out.append(LeftOut(path, why))
            elif is_dir:
                self.descend(item.path, path, here)
            else:
                self._add(item, path)

    def _add(self, item: os.DirEntry[str], path: str) -> None:
        try:
            info = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISREG(info.st_mode):
            self.entries.append(file_entry(path, info))
        elif not item.is_symlink():
            self.left_out.append(LeftOut(path, "neither file, folder nor link"))
        else:
            end = os.path.realpath(item.path)
            if (end + "/").startswith(self.root.rstrip("/") + "/"):
                # By its real end: names on the way there may not exist on a worker.
                self.entries.append(Entry(path, LINK, target=os.path.relpath(end, os.path.dirname(item.path))))
            else:
                self.left_out.append(LeftOut(path, f"link that leaves the project (to {end})"))


def _ignore_files(folder: str, names: Iterable[str]) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """The patterns of a folder's two ignore files."""
    found = []
    for name in (GITIGNORE, LAUNCHERIGNORE):
        path = os.path.join(folder, name)
        try:
            text = Path(path).read_bytes().decode("utf-8", "surrogateescape") if name in names else ""
        except OSError as exc:
            raise PackagingError(f"cannot read {path}: {exc.strerror}. Fix its permissions, or remove it.") from exc
        found.append(parse(text, path))
    return found[0], found[1]


def _around(root: str) -> Rules | None:
    """The ignore files of the folders around the root, as far as the same git checkout reaches."""
    chain = [Path(root), *Path(root).parents]
    tops = [index for index, folder in enumerate(chain) if os.path.lexists(folder / ".git")]
    above: Rules | None = None
    for folder in reversed(chain[1 : tops[0] + 1] if tops else []):
        names = [name for name in (GITIGNORE, LAUNCHERIGNORE) if (folder / name).is_file()]
        above = rules(above, *_ignore_files(str(folder), names), above=os.path.relpath(root, folder) + "/")
    return above


def files_of(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == FILE]
