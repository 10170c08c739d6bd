"""One look at a project's folder: every entry that is sent, and why the rest is not."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from launcher.errors import PackagingError
from launcher.shipping.ignore import GITIGNORE, LAUNCHERIGNORE, Line, Rules, marked_folder, parse
from launcher.shipping.stamps import texts

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


class _Folder:
    """Remembered decisions of one folder; they hold as long as its rules are the same object."""

    def __init__(self, parent: Rules | None, files: tuple[tuple[Line, ...], tuple[Line, ...]], rules: Rules) -> None:
        self.parent, self.files, self.rules = parent, files, rules
        self.decisions: dict[str, str | None] = {}


class Walker:
    """Walks one root, again and again: what was decided about a name is not decided anew. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders: dict[str, _Folder] = {}
        self._lock = threading.Lock()

    def walk(self) -> tuple[list[Entry], list[LeftOut]]:
        """Entries in a fixed order, folders before what is in them. PackagingError where a folder cannot be read."""
        with self._lock:
            entries: list[Entry] = []
            left_out: list[LeftOut] = []
            self._descend(self._root, "", self._around(), entries, left_out)
            return entries, left_out

    def _descend(
        self, folder: str, prefix: str, parent: Rules | None, entries: list[Entry], left_out: list[LeftOut]
    ) -> None:
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
                left_out.append(LeftOut(prefix, marked))
                return
            entries.append(Entry(prefix[:-1], FOLDER))
        known = self._rules(folder, prefix, parent, names)
        decisions = known.decisions
        for item in found:
            name = item.name
            is_dir = item.is_dir(follow_symlinks=False)
            key = name + "/" if is_dir else name
            if key not in decisions:
                decisions[key] = known.rules.why_not(prefix + name, name, is_dir)
            why = decisions[key]
            if why is not None:
                left_out.append(LeftOut(prefix + key, why))
            elif is_dir:
                self._descend(item.path, prefix + key, known.rules, entries, left_out)
            else:
                self._add(item, prefix + name, entries, left_out)

    def _add(self, item: os.DirEntry[str], path: str, entries: list[Entry], left_out: list[LeftOut]) -> None:
        try:
            info = item.stat(follow_symlinks=False)
            mode = info.st_mode
            if stat.S_ISREG(mode):
                entries.append(
                    Entry(
                        path, FILE, info.st_size, bool(mode & stat.S_IXUSR), "",
                        info.st_mtime_ns, info.st_ctime_ns, info.st_ino,
                    )
                )  # fmt: skip
            elif stat.S_ISLNK(mode):
                target = self._inside(item.path)
                if target is None:
                    left_out.append(LeftOut(path, f"link that leaves the project (to {os.readlink(item.path)})"))
                else:
                    entries.append(Entry(path, LINK, target=target))
            else:
                left_out.append(LeftOut(path, "neither file, folder nor link"))
        except FileNotFoundError:
            return

    def _inside(self, link: str) -> str | None:
        """A link's target relative to its own folder; None where it leads out of the root."""
        end = os.path.realpath(link)
        if not (end + "/").startswith(self._root.rstrip("/") + "/"):
            return None
        target = os.readlink(link)
        folder = os.path.dirname(link)
        if not os.path.isabs(target) and not _climbs_out(target, os.path.relpath(folder, self._root)):
            return target
        return os.path.relpath(end, folder)  # by names that exist there too

    def _rules(self, folder: str, prefix: str, parent: Rules | None, names: set[str]) -> _Folder:
        git, own = self._lines(folder, prefix, names)
        known = self._folders.get(folder)
        if known is None or known.parent is not parent or known.files[0] is not git or known.files[1] is not own:
            rules = Rules(parent, git, own, skip=len(prefix)) if git or own or parent is None else parent
            known = self._folders[folder] = _Folder(parent, (git, own), rules)
        return known

    def _lines(self, folder: str, prefix: str, names: set[str]) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
        git = _parsed(folder, prefix, GITIGNORE) if GITIGNORE in names else ()
        own = _parsed(folder, prefix, LAUNCHERIGNORE) if LAUNCHERIGNORE in names else ()
        return git, own

    def _around(self) -> Rules | None:
        """The ignore files of the folders around the root, as far as the same git checkout reaches."""
        if os.path.lexists(os.path.join(self._root, ".git")):
            return None
        folders = []
        for folder in Path(self._root).parents:
            folders.append(folder)
            if os.path.lexists(folder / ".git"):
                break
        else:
            return None
        rules: Rules | None = None
        for folder in reversed(folders):
            present = {name for name in (GITIGNORE, LAUNCHERIGNORE) if (folder / name).is_file()}
            above = os.path.relpath(self._root, folder) + "/"
            files = self._lines(str(folder), f"{folder}/", present)
            known = self._folders.get(str(folder))
            if (
                known is None
                or known.parent is not rules
                or known.files[0] is not files[0]
                or known.files[1] is not files[1]
            ):
                known = self._folders[str(folder)] = _Folder(rules, files, Rules(rules, *files, above=above))
            rules = known.rules
        return rules


def _climbs_out(target: str, folder: str) -> bool:
    """Whether a relative target leaves the root on its way, from a folder relative to the root."""
    depth = 0 if folder == "." else folder.count("/") + 1
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False


_lines_by_text: dict[tuple[str, str], tuple[Line, ...]] = {}


def _parsed(folder: str, prefix: str, name: str) -> tuple[Line, ...]:
    """The same tuple object as long as the file's text is the same."""
    path = os.path.join(folder, name)
    try:
        text = texts.get(Path(path))
    except OSError as exc:
        raise PackagingError(f"cannot read {path}: {exc.strerror}. Fix its permissions, or remove it.") from exc
    key = (path, text)
    if key not in _lines_by_text:
        _lines_by_text[key] = parse(text, prefix + name)
    return _lines_by_text[key]


_walkers: dict[str, Walker] = {}
_walkers_lock = threading.Lock()


def walker(root: Path) -> Walker:
    """This process's walker of a root."""
    with _walkers_lock:
        return _walkers.setdefault(str(root), Walker(root))


def files_of(entries: list[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.kind == FILE)
