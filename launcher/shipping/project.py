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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
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
    place = place_of(source if source is not None else Path.cwd())
    name = str(getattr(function, "__module__", ""))
    if place.lone and "." in name:
        raise PackagingError(
            f"{source} is part of the package {name.partition('.')[0]}, but no project is around it "
            f"(no {', '.join(MARKERS)} there or above). "
            "Fix: touch requirements.txt in the project's folder, or set project_root."
        )
    return place


def place_of(start: Path, project_root: str | os.PathLike[str] | None = None) -> Place:
    """The project around a script or a folder."""
    if project_root is not None:
        return Place(_given(project_root))
    start = Path(os.path.realpath(start)) if os.path.islink(start) else Path(os.path.abspath(start))
    is_file = start.is_file()
    folder = start.parent if is_file else start
    root = find_root(folder)
    if root is not None:
        return Place(root)
    markers = ", ".join(MARKERS)
    if is_file:
        why = f"no project around it (no {markers} in {folder} or above)"
        return Place(folder, start.name, f"{start.name} is sent by itself, its neighbours stay here: {why}")
    return Place(None, why=f"only the function itself is sent: no project here (no {markers} in {folder} or above)")


def find_root(folder: Path) -> Path | None:
    """The nearest folder with a marker; never the home folder, a temporary folder, `/`, or one above them."""
    never = _never()
    for candidate in (folder, *folder.parents):
        if os.path.realpath(candidate) in never:
            return None
        if any(os.path.lexists(candidate / marker) for marker in MARKERS):
            return candidate
    return None


def _never() -> set[str]:
    ends = {"/", os.path.realpath(tempfile.gettempdir()), os.path.realpath("/tmp"), os.path.realpath("/var/tmp")}
    return ends | {os.path.realpath(Path.home())}


def _given(project_root: str | os.PathLike[str]) -> Path:
    root = Path(os.path.abspath(os.path.expanduser(project_root)))
    if not root.is_dir():
        raise ConfigError(f"project_root {root} is not a folder.")
    if os.path.realpath(root) in ("/", os.path.realpath(Path.home())):
        raise ConfigError(f"project_root {root}: a home folder or / is never sent. Fix: name the project's own folder.")
    return root


def _source(function: Callable[..., Any]) -> Path | None:
    """The file that defines a function; None for one typed into a prompt, or installed rather than written here."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(getattr(target, "__func__", target))
    if not isinstance(target, type) and not inspect.isroutine(target):
        target = type(target)
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None or not os.path.isfile(file) or is_installed(file):
        return None
    return Path(os.path.abspath(file))


def is_installed(file: str) -> bool:
    """Whether a module's file belongs to Python or to an installed package."""
    real = os.path.realpath(file)
    return any(real.startswith(folder + os.sep) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({os.path.realpath(folder) for folder in folders})


def inside(path: str | os.PathLike[str], root: Path) -> str | None:
    """A path relative to the root ("." for itself), links resolved; None outside."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    if relative == ".." or relative.startswith("../"):
        return None
    return relative


def current_folder(root: Path, entries: Iterable[Entry]) -> str | None:
    """The client's current folder relative to the root; None where it is outside or not sent."""
    here = inside(os.getcwd(), root)
    if here is None or here == ".":
        return here
    return here if any(entry.kind == FOLDER and entry.path == here for entry in entries) else None


def import_paths(root: Path, entries: Iterable[Entry], lone: bool = False) -> tuple[str, ...]:
    """Folders (and zip files) of the root that Python imports from here, in the order of sys.path."""
    sent = {entry.path for entry in entries if entry.kind in (FOLDER, FILE)} | {"."}
    found: dict[str, None] = {}
    for path in sys.path:
        relative = inside(path or os.getcwd(), root)
        if relative in sent:
            found[relative] = None
    if not lone:
        for package, location in editable_packages().items():
            relative = inside(os.path.dirname(location), root)
            if relative in sent and os.path.basename(location).partition(".")[0] == package:
                found[relative] = None
    return tuple(found)


def editable_packages() -> Mapping[str, str]:
    """Packages that setuptools' editable finders map to folders outside of sys.path."""
    mapping: dict[str, str] = {}
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        if module is not None and module.__name__.startswith("__editable__"):
            entries = getattr(module, "MAPPING", {})
            if isinstance(entries, dict):
                mapping |= {str(name): str(path) for name, path in entries.items()}
    return mapping


def about_modules(modules: Iterable[str], place: Place, paths: Sequence[str]) -> Iterator[str]:
    """A line for each module that the call imports, that is written here, and that a worker will not find."""
    for name in sorted(modules):
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) or name == "__main__" or name.partition(".")[0] == "launcher":
            continue
        file = getattr(module, "__file__", None)
        if file is None or is_installed(file):
            continue
        relative = inside(file, place.root) if place.root is not None else None
        if place.lone and relative != place.lone:
            yield f"not sent: module {name} ({file}); to send it too, make a project: touch requirements.txt beside it"
        elif relative is None:
            yield f"not sent: module {name} ({file}) is outside the project; project_root can name a larger one"
        elif not any(_imports(relative, path, name) for path in paths):
            yield f"module {name} ({file}) is sent, but nothing on sys.path here leads to it: workers cannot import it"


def _imports(relative: str, path: str, name: str) -> bool:
    """Whether a module's file is what importing its name from a folder of the root finds."""
    stem = os.path.normpath(os.path.join(path, name.replace(".", "/")))
    folder, base = os.path.split(relative)
    return stem == (folder if base.startswith("__init__.") else os.path.join(folder, base.partition(".")[0]))
