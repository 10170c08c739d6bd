"""Where the project is: its root, the current folder in it, and what of it Python imports from."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, PackagingError
from launcher.shipping.walk import FILE, FOLDER, Entry

MARKERS = ("pyproject.toml", ".git", "setup.py", "requirements.txt")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a call comes from. `root`: the project's folder as the client spells it, None where nothing is sent.

    `lone`: the one file that is sent where there is no project, relative to `root`.
    """

    root: Path | None
    lone: str = ""
    why: str = ""  # why there is no project, for a person


def locate(function: Callable[..., Any], project_root: str | os.PathLike[str] | None = None) -> Place:
    """The project of a function: where it is defined, else (notebook, `python -c`) of the current folder."""
    if project_root is not None:
        return Place(_given(project_root))
    source = _source(function)
    place = place_of(source or Path.cwd())
    name = str(getattr(function, "__module__", ""))
    if place.lone and "." in name:
        raise PackagingError(
            f"{source} is part of the package {name.partition('.')[0]}, but no project is around it "
            f"(no {', '.join(MARKERS)} there or above). "
            "Fix: touch requirements.txt in the project's folder, or set project_root."
        )
    return place


def place_of(start: Path) -> Place:
    """The project around a script or a folder."""
    start = Path(os.path.realpath(start)) if os.path.islink(start) else Path(os.path.abspath(start))
    is_file = start.is_file()
    folder = start.parent if is_file else start
    root = find_root(folder)
    if root is not None:
        return Place(root)
    nothing = f"(no {', '.join(MARKERS)} in {folder} or above)"
    if is_file:
        why = f"only {start.name} is sent: no project around it {nothing}"
        return Place(folder, start.name, why)
    return Place(None, why=f"only the function itself is sent: no project here {nothing}")


def find_root(folder: Path) -> Path | None:
    """The nearest folder with a marker; never the home folder, a temporary folder, `/`, or one above them."""
    never = {os.path.realpath(each) for each in ("/", "/tmp", "/var/tmp", tempfile.gettempdir(), Path.home())}
    for candidate in (folder, *folder.parents):
        if os.path.realpath(candidate) in never:
            return None
        if any(os.path.lexists(candidate / marker) for marker in MARKERS):
            return candidate
    return None


def _given(project_root: str | os.PathLike[str]) -> Path:
    root = Path(os.path.abspath(os.path.expanduser(project_root)))
    if not root.is_dir():
        raise ConfigError(f"project_root {root} is not a folder.")
    if os.path.realpath(root) in ("/", os.path.realpath(Path.home())):
        raise ConfigError(f"project_root {root}: a home folder or / is never sent. Fix: name the project's own folder.")
    return root


def _source(function: Callable[..., Any]) -> Path | None:
    """The file that defines a function; None for one typed into a prompt, or installed rather than written here."""
    target = inspect.unwrap(getattr(function, "__func__", function))
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None or not os.path.isfile(file) or _is_installed(file):
        return None
    return Path(os.path.abspath(file))


def _is_installed(file: str) -> bool:
    """Whether a module's file belongs to Python or to an installed package."""
    real = os.path.realpath(file)
    return any(real.startswith(folder + os.sep) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> set[str]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return {os.path.realpath(each) for each in (*folders, *site.getsitepackages(), site.getusersitepackages())}


def _inside(path: str, root: Path) -> str | None:
    """A path relative to the root ("." for itself), links resolved; None outside."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    return None if relative == ".." or relative.startswith("../") else relative


def where(root: Path, entries: Iterable[Entry]) -> tuple[str | None, tuple[str, ...]]:
    """Relative to the root: the current folder, None where it is outside or not sent; and the folders (and zip
    files) that Python imports from here, in the order of sys.path."""
    folders = {entry.path for entry in entries if entry.kind == FOLDER} | {"."}
    importable = folders | {entry.path for entry in entries if entry.kind == FILE}
    here = _inside(os.getcwd(), root)
    found = [_inside(path or os.getcwd(), root) for path in (*sys.path, *_editable_folders())]
    return here if here in folders else None, tuple(dict.fromkeys(path for path in found if path in importable))


def _editable_folders() -> Iterator[str]:
    """Where setuptools' editable finders take packages from, outside of sys.path."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        if module is not None and module.__name__.startswith("__editable__"):
            for package, place in getattr(module, "MAPPING", {}).items():
                folder, name = os.path.split(place)
                if name.partition(".")[0] == package:  # else no folder on sys.path gives it that name
                    yield folder


def unsent_modules(modules: Iterable[str], root: Path | None, entries: Iterable[Entry]) -> Iterator[str]:
    """A line for each module that the call imports, that is written here, and that is not sent."""
    sent = {entry.path for entry in entries}
    for name in sorted(modules):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or name in ("__main__", "launcher") or not os.path.isfile(file) or _is_installed(file):
            continue
        if root is None or _inside(file, root) not in sent:
            yield (
                f"not sent: module {name} ({file}), which the function needs. `launcher files` shows what is sent; "
                "a folder with a requirements.txt around both is a project and is sent whole"
            )
