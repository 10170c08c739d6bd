"""Which declaration says what a job needs, and all that decides how it resolves."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, PackagingError
from launcher.shipping.requirements import files_of, local_folder, option, read_text, refuse_credentials

# Settings of uv that say how it works here, not what it resolves to.
_LOCAL_SETTINGS = re.compile(
    "UV_(CACHE_DIR|OFFLINE|NO_PROGRESS|SYSTEM_CERTS|NATIVE_TLS|HTTP_|CONCURRENT_|LINK_MODE|PYTHON|PROJECT|RUN_|TOOL_|"
    "LOG_|LOCK_TIMEOUT|WORKING_DIR)"
)
_INDEX_SETTINGS = re.compile(
    "UV_(INDEX|DEFAULT_INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_.*_(USERNAME|PASSWORD))"
)


@dataclasses.dataclass
class Inputs:
    """What is to be locked. `source`: the kind of declaration, as messages call it.

    `parts` is everything that the outcome depends on, as text; `folder` is where uv runs.
    """

    source: str
    folder: Path
    lines: tuple[str, ...] = ()
    parts: list[str] = dataclasses.field(default_factory=list)
    tables: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # uv's settings, those that win first


def collect(root: Path | None, dependencies: Sequence[str] | None) -> Inputs:
    """The declaration that counts.

    Raises PackagingError for a file that cannot be read or that holds a password, ConfigError for bad `dependencies`.
    """
    inputs = Inputs("the runner's own needs", root or Path.cwd())
    if dependencies is not None:
        inputs.source = "dependencies=[…]"
        inputs.lines = _checked(dependencies)
        inputs.parts += inputs.lines
    elif root is not None:
        _add_declaration(inputs, root)
    for name, value in sorted(os.environ.items()):
        if name.startswith("UV_") and not _LOCAL_SETTINGS.match(name):
            inputs.parts.append(f"{name}={value}")
    for path, table in _configuration(inputs.folder):
        text = json.dumps(table, sort_keys=True, default=str)
        if root is not None and path.is_relative_to(root):
            refuse_credentials(text, str(path))  # the person's own files may hold some: they are not sent
        inputs.tables.append(table)
        inputs.parts.append(text)
    return inputs


def _checked(dependencies: Sequence[str]) -> tuple[str, ...]:
    if isinstance(dependencies, str):
        raise ConfigError(f"dependencies={dependencies!r} is one string. Fix: dependencies=[{dependencies!r}]")
    for line in dependencies:
        refuse_credentials(line, "dependencies=[…]")
        if not line.strip() or "\n" in line or line.lstrip().startswith(("-", "#")):
            raise ConfigError(
                f"dependencies=[…]: {line!r} is not a requirement. Fix: one requirement a string, like 'jax>=0.10'."
            )
    return tuple(dependencies)


def _add_declaration(inputs: Inputs, root: Path) -> None:
    lock = _lock_file(root)
    if lock is not None:
        inputs.source = "uv.lock"
        _add_file(inputs, lock)
        _add_project(inputs, root)
    elif (root / "requirements.txt").is_file():
        inputs.source = "requirements.txt"
        _add_requirements(inputs, root)
    else:
        project = _toml(root / "pyproject.toml").get("project", {})
        if project.get("dependencies") or "dependencies" in project.get("dynamic", ()):
            inputs.source = "pyproject.toml"
            _add_project(inputs, root)


def _lock_file(root: Path) -> Path | None:
    if (root / "uv.lock").is_file():
        return root / "uv.lock"
    for folder in root.parents:  # a member of a workspace is locked in the workspace's file
        if (folder / "uv.lock").is_file():
            return folder / "uv.lock" if "workspace" in _uv_table(folder) else None
    return None


def _add_requirements(inputs: Inputs, root: Path) -> None:
    urls: dict[str, Any] = {"extra-index-url": [], "find-links": []}
    for path, lines in files_of(root / "requirements.txt"):
        _add_file(inputs, path)
        for line in lines:
            urls["index-url"] = option(line, "-i", "--index-url") or urls.get("index-url", "")
            urls["extra-index-url"] += filter(None, [option(line, "--extra-index-url")])
            urls["find-links"] += filter(None, [option(line, "-f", "--find-links")])
            folder = local_folder(path, line)
            if folder is not None:
                _add_project(inputs, folder)
    inputs.tables.append(urls)


def _add_project(inputs: Inputs, folder: Path) -> None:
    """What a project declares: of pyproject.toml only the tables that say something about packages."""
    path = folder / "pyproject.toml"
    project = _toml(path).get("project", {})
    text = json.dumps([project, _uv_table(folder)], sort_keys=True, default=str)
    refuse_credentials(text, str(path))
    inputs.parts += [str(path), text]
    if "dependencies" in project.get("dynamic", ()) or not project:
        for name in ("setup.py", "setup.cfg", "requirements.txt"):
            if (folder / name).is_file():
                _add_file(inputs, folder / name)


def _add_file(inputs: Inputs, path: Path) -> None:
    text = read_text(path)
    if path.suffix != ".py":
        refuse_credentials(text, str(path))
    inputs.parts += [str(path), text]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path)) if path.is_file() else {}
    except ValueError as exc:
        raise PackagingError(f"cannot read {path}: {exc}. Fix that file.") from exc


def _uv_table(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = _toml(folder / "pyproject.toml").get("tool", {}).get("uv", {})
    return table


def _configuration(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """uv's own configuration files, as uv finds them."""
    if chosen := os.environ.get("UV_CONFIG_FILE"):
        yield Path(chosen), _toml(Path(chosen))
        return
    for place in (folder, *folder.parents):
        if (place / "uv.toml").is_file():
            yield place / "uv.toml", _toml(place / "uv.toml")
            break
        if table := _uv_table(place):
            yield place / "pyproject.toml", table
            break
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (user / "uv/uv.toml", Path("/etc/uv/uv.toml")):
        yield path, _toml(path)


def index_args(inputs: Inputs) -> dict[str, str]:
    """UV_* variables that give a worker's uv the package indexes that are configured here.

    A lock with hashes makes it safe to take a file from any of them. Folders of this machine are left out.
    """
    found = {name: value for name, value in os.environ.items() if value and _INDEX_SETTINGS.fullmatch(name)}
    default, extra, links = "", [], os.environ.get("UV_FIND_LINKS", "").split(",")
    for table in (each for outer in inputs.tables for each in (outer, outer.get("pip", {}))):
        for index in table.get("index", []):
            if index.get("default"):
                default = default or index["url"]
            else:
                extra.append(f"{index['name']}={index['url']}" if index.get("name") else index["url"])
        default = default or table.get("index-url", "")
        extra += table.get("extra-index-url", [])
        links += table.get("find-links", [])
    remote = [os.path.expandvars(url) for url in extra if "://" in url and "file://" not in url]
    if remote:
        found["UV_INDEX"] = " ".join([*found.get("UV_INDEX", "").split(), *dict.fromkeys(remote)])
    if "://" in default and not default.startswith("file:") and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(found):
        found["UV_DEFAULT_INDEX"] = os.path.expandvars(default)
    web = [os.path.expandvars(link) for link in links if link.startswith(("http:", "https:"))]
    if web:
        found["UV_FIND_LINKS"] = ",".join(dict.fromkeys(web))
    if found:
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if mirror := os.environ.get("UV_PYTHON_INSTALL_MIRROR"):  # also file://: a folder of the worker's own
        found["UV_PYTHON_INSTALL_MIRROR"] = mirror
    return found
