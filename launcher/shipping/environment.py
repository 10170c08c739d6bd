"""The worker's Python environment, locked here: once for every attempt and every worker."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import uv
from launcher.shipping.cache import Cache
from launcher.shipping.inputs import Inputs, collect, index_args
from launcher.shipping.requirements import Pinned, checked, parse_lock, refuse_credentials, render

PYTHON_MINORS = ("3.11", "3.12", "3.13")
FORMAT = 1  # part of what a lock is remembered by: raised when the same inputs would give another lock

_COMPILE_OPTIONS = (
    "pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links "
    "--no-emit-index-annotation --no-python-downloads"
)
_EXPORT_OPTIONS = (
    "export --quiet --frozen --no-default-groups --no-emit-project --no-header --no-annotate --no-python-downloads "
    "--format requirements.txt"
)


@dataclasses.dataclass(frozen=True)
class Locks:
    """Requirements with hashes: for a worker without a TPU and for one with."""

    cpu: str
    tpu: str
    notices: tuple[str, ...]
    index_args: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


def check_python(version: tuple[int, int] | None = None) -> str:
    """The client's Python as "3.11". ConfigError where no worker can have the same minor version."""
    major, minor = version or sys.version_info[:2]
    name = f"{major}.{minor}"
    if name not in PYTHON_MINORS:
        raise ConfigError(
            f"this is Python {name}; workers can have {', '.join(PYTHON_MINORS)}, and it has to be the same. "
            f"Fix: uv venv --python {PYTHON_MINORS[-1]} and install the project there."
        )
    return name


_known: dict[tuple[str, str], Locks] = {}
_locks: dict[tuple[str, str], threading.Lock] = {}
_guard = threading.Lock()


def lock(
    root: Path | None, dependencies: Sequence[str] | None, python: str, cache: Cache, on_step: Callable[[str], None]
) -> Locks:
    """The locks of a project, remembered by everything that they depend on.

    Raises PackagingError where the requirements do not resolve, or could not be installed on a worker.
    """
    inputs = collect(root, dependencies)
    parts = [str(FORMAT), inputs.kind, *inputs.parts, uv.version(), python, cloudpickle_pin()]
    name = (str(cache.root), cache.mac("\0".join(parts).encode("utf-8", "surrogateescape")))
    with _guard:
        mine = _locks.setdefault(name, threading.Lock())
    with mine:
        if name not in _known:
            _known[name] = _stored(cache, name[1]) or _resolved(inputs, python, cache, name[1], on_step)
        return dataclasses.replace(_known[name], index_args=index_args(inputs))


@functools.cache
def cloudpickle_pin() -> str:
    """The runner's own need: what reads the payload has to be what wrote it."""
    return f"cloudpickle=={importlib.metadata.version('cloudpickle')}"


def _stored(cache: Cache, key: str) -> Locks | None:
    document = cache.read_json(f"locks/{key}.json")
    try:
        return Locks(document["cpu"], document["tpu"], tuple(document["notices"])) if document else None
    except KeyError:
        return None


def _resolved(inputs: Inputs, python: str, cache: Cache, key: str, on_step: Callable[[str], None]) -> Locks:
    on_step(f"locking the environment ({inputs.source})")
    with tempfile.TemporaryDirectory() as folder:
        try:
            cpu, tpu = _Resolver(inputs, python, Path(folder)).resolve()
        except uv.UvFailed as exc:
            raise PackagingError(
                f"{inputs.source}: the requirements cannot be locked for Linux x86-64, Python {python}, "
                f"with {cloudpickle_pin()} for the runner:\n{exc}\nFix them; nothing was started."
            ) from exc
    pins, notices = checked(cpu, inputs.source)
    tpu_pins, _ = checked(tpu, inputs.source)
    for text in (render(pins), render(tpu_pins)):
        refuse_credentials(text, inputs.source)
    locks = Locks(render(pins), render(tpu_pins), tuple(notices))
    cache.write_json(f"locks/{key}.json", {"cpu": locks.cpu, "tpu": locks.tpu, "notices": notices})
    return locks


class _Resolver:
    """One resolution: without TPU extras, then with them at the same versions."""

    def __init__(self, inputs: Inputs, python: str, scratch: Path) -> None:
        self._inputs = inputs
        self._python = python
        self._scratch = scratch

    def resolve(self) -> tuple[list[Pinned], list[Pinned]]:
        if self._inputs.kind == "uv.lock":
            return self._from_uv_lock()
        cpu = self._compile([])
        if not any(pin.name == "jax" for pin in cpu):
            return cpu, cpu
        return cpu, self._compile(["jax[tpu]"], cpu)

    def _compile(self, more: list[str], pins: Sequence[Pinned] = (), alone: bool = False) -> list[Pinned]:
        """What the inputs (unless `alone`), the runner and `more` resolve to, in the versions of `pins`."""
        arguments = [*_COMPILE_OPTIONS.split(), "--python", sys.executable, "--python-version", self._python]
        arguments += ["--python-platform", uv.WORKER_PLATFORM]
        if pins:
            constraints = self._scratch / "constraints.txt"
            constraints.write_text("".join(pin.line + "\n" for pin in pins if pin.name and not pin.location))
            arguments += ["--constraints", str(constraints)]
        if not alone and self._inputs.kind in ("requirements.txt", "pyproject.toml"):
            arguments.append(self._inputs.kind)
        lines = [cloudpickle_pin(), *([] if alone else self._inputs.lines), *more]
        return parse_lock(uv.run([*arguments, "-"], self._inputs.folder, "\n".join(lines) + "\n"))

    def _from_uv_lock(self) -> tuple[list[Pinned], list[Pinned]]:
        """The project's own lock with its own hashes; only what it lacks is resolved."""
        exported = uv.run([*_EXPORT_OPTIONS.split(), "--python", sys.executable], self._inputs.folder)
        base = [pin for pin in parse_lock(exported) if pin.name != "cloudpickle"]
        names = {pin.name for pin in base}

        def completed(more: list[str]) -> list[Pinned]:
            # In uv.lock's own versions; the runner's cloudpickle comes from here whatever the project locked.
            found = self._compile(more, base, alone=True)
            return base + [pin for pin in found if pin.name not in names]

        cpu = completed([])
        return cpu, completed(["jax[tpu]"]) if "jax" in names else cpu
