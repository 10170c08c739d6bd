"""Which declaration says what a job needs, and all that decides how it resolves."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, PackagingError
from launcher.shipping.requirements import files_of, local_folders, option_values, refuse_credentials
from launcher.shipping.stamps import texts

# Settings of uv that say how it works here, not what it resolves to.
_LOCAL_SETTINGS = (
    "UV_CACHE_DIR", "UV_OFFLINE", "UV_NO_PROGRESS", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_HTTP_", "UV_CONCURRENT_",
    "UV_LINK_MODE", "UV_PYTHON", "UV_PROJECT", "UV_RUN_", "UV_TOOL_", "UV_LOG_", "UV_LOCK_TIMEOUT", "UV_WORKING_DIR",
)  # fmt: skip
_INDEX_VARIABLES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY")


@dataclasses.dataclass
class Inputs:
    """What is to be locked. `kind`: dependencies, uv.lock, requirements.txt, pyproject.toml or nothing.

    `parts` is everything that the outcome depends on, as text; `folder` is where uv runs.
    """

    kind: str
    folder: Path
    lines: tuple[str, ...] = ()
    parts: list[str] = dataclasses.field(default_factory=list)
    tables: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # uv's configuration files, nearest first
    urls: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # index options of requirement files

    @property
    def source(self) -> str:
        """How messages call it."""
        return {"dependencies": "dependencies=[…]", "nothing": "the runner's own needs"}.get(self.kind, self.kind)


def collect(root: Path | None, dependencies: Sequence[str] | None) -> Inputs:
    """The declaration that counts. Reads files only where they changed.

    Raises PackagingError for a file that cannot be read or that holds a password, ConfigError for bad `dependencies`.
    """
    inputs = _chosen(root, dependencies)
    _add_settings(inputs)
    return inputs


def _chosen(root: Path | None, dependencies: Sequence[str] | None) -> Inputs:
    folder = root if root is not None else Path.cwd()
    if dependencies is not None:
        return Inputs("dependencies", folder, _checked_lines(dependencies), list(dependencies))
    if root is None:
        return Inputs("nothing", folder)
    locked = _lock_folder(root)
    if locked is not None:
        inputs = Inputs("uv.lock", root)
        _add_file(inputs, locked / "uv.lock")
        _add_project(inputs, root)
        return inputs
    if (root / "requirements.txt").is_file():
        return _requirements(root)
    project = _toml(root / "pyproject.toml").get("project", {})
    if project.get("dependencies") or "dependencies" in project.get("dynamic", ()):
        inputs = Inputs("pyproject.toml", root)
        _add_project(inputs, root)
        return inputs
    return Inputs("nothing", folder)


def _checked_lines(dependencies: Sequence[str]) -> tuple[str, ...]:
    if isinstance(dependencies, str):
        raise ConfigError(f"dependencies={dependencies!r} is one string. Fix: dependencies=[{dependencies!r}]")
    for line in dependencies:
        refuse_credentials(line, "dependencies=[…]")
        if not line.strip() or "\n" in line or line.lstrip().startswith(("-", "#")):
            raise ConfigError(
                f"dependencies=[…]: {line!r} is not a requirement. Fix: one requirement a string, like 'jax>=0.10'."
            )
    return tuple(dependencies)


def _lock_folder(root: Path) -> Path | None:
    if (root / "uv.lock").is_file():
        return root
    for folder in root.parents:  # a member of a workspace is locked in the workspace's file
        if (folder / "uv.lock").is_file():
            workspace = _toml(folder / "pyproject.toml").get("tool", {}).get("uv", {}).get("workspace")
            return folder if workspace is not None else None
    return None


def _requirements(root: Path) -> Inputs:
    inputs = Inputs("requirements.txt", root)
    for path, text in files_of(root / "requirements.txt"):
        refuse_credentials(text, str(path))
        inputs.parts += [os.path.relpath(path, root), text]
        for option in ("--index-url", "--extra-index-url", "--find-links"):
            short = {"--index-url": "-i", "--find-links": "-f"}.get(option, option)
            inputs.urls.setdefault(option, []).extend(option_values(text, option, short))
        for folder in local_folders(path, text):
            _add_project(inputs, folder)
    return inputs


def _add_project(inputs: Inputs, folder: Path) -> None:
    """What a project declares: of pyproject.toml only the tables that say something about packages."""
    path = folder / "pyproject.toml"
    document = _toml(path)
    project = dict(document.get("project", {}))
    relevant = {
        "project": {
            key: project.get(key)
            for key in ("name", "dependencies", "optional-dependencies", "dynamic", "requires-python")
        },
        "uv": document.get("tool", {}).get("uv"),
    }
    text = json.dumps(relevant, sort_keys=True, default=str)
    refuse_credentials(text, str(path))
    inputs.parts += [str(path), text]
    if "dependencies" in project.get("dynamic", ()) or not project:
        for name in ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"):
            if (folder / name).is_file():
                _add_file(inputs, folder / name)


def _add_file(inputs: Inputs, path: Path) -> None:
    try:
        text = texts.get(path)
    except OSError as exc:
        raise PackagingError(f"cannot read {path}: {exc.strerror}. Fix its permissions.") from exc
    if path.name == "uv.lock":
        refuse_credentials(text, str(path))
    inputs.parts += [str(path), text]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(texts.get(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise PackagingError(f"cannot read {path}: {exc}. Fix that file.") from exc


def _add_settings(inputs: Inputs) -> None:
    """uv's own configuration, as uv finds it."""
    for name, value in sorted(os.environ.items()):
        if name.startswith("UV_") and not name.startswith(_LOCAL_SETTINGS):
            inputs.parts.append(f"{name}={value}")
    for path in _configuration(inputs.folder):
        table = _toml(path)
        inputs.tables.append(table.get("tool", {}).get("uv", {}) if path.name == "pyproject.toml" else table)
        inputs.parts.append(json.dumps(inputs.tables[-1], sort_keys=True, default=str))


def _configuration(folder: Path) -> Iterator[Path]:
    if os.environ.get("UV_NO_CONFIG"):
        return
    chosen = os.environ.get("UV_CONFIG_FILE")
    if chosen:
        yield Path(chosen)
        return
    for place in (folder, *folder.parents):
        own = place / "uv.toml"
        if own.is_file():
            yield own
            break
        if "uv" in _toml(place / "pyproject.toml").get("tool", {}):
            yield place / "pyproject.toml"
            break
    user = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    yield from (path for path in (Path(user) / "uv" / "uv.toml", Path("/etc/uv/uv.toml")) if path.is_file())


def index_args(inputs: Inputs) -> dict[str, str]:
    """UV_* variables that give a worker's uv the package indexes that are configured here.

    A lock with hashes makes it safe to take a file from any of them. Folders of this machine are left out.
    """
    found = {name: os.environ[name] for name in _INDEX_VARIABLES if os.environ.get(name)}
    found |= {
        name: value
        for name, value in os.environ.items()
        if name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))
    }
    extra = list(inputs.urls.get("--extra-index-url", []))
    default = (inputs.urls.get("--index-url") or [""])[-1]
    links = list(inputs.urls.get("--find-links", []))
    for table in (nested for outer in inputs.tables for nested in (outer, outer.get("pip", {}))):
        for index in table.get("index", []):
            url = str(index.get("url", ""))
            if index.get("default"):
                default = default or url
            else:
                extra.append(f"{index['name']}={url}" if index.get("name") else url)
        default = default or str(table.get("index-url", ""))
        extra += table.get("extra-index-url", [])
        links += table.get("find-links", [])
    remote = [os.path.expandvars(url) for url in extra if "://" in url and "file://" not in url]
    if remote:
        found["UV_INDEX"] = " ".join([*found.get("UV_INDEX", "").split(), *dict.fromkeys(remote)])
    if "://" in default and not default.startswith("file:") and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(found):
        found["UV_DEFAULT_INDEX"] = os.path.expandvars(default)
    web = [
        link
        for link in (*os.environ.get("UV_FIND_LINKS", "").split(","), *links)
        if link.startswith(("http:", "https:"))
    ]
    if web:
        found["UV_FIND_LINKS"] = ",".join(dict.fromkeys(web))
    if found:
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found
