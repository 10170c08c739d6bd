"""The worker's Python environment, locked here: once for every attempt and every worker."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import uv
from launcher.shipping.cache import Cache, lock_for
from launcher.shipping.inputs import Inputs, collect, index_args
from launcher.shipping.requirements import Pinned, checked, parse_lock

PYTHON_MINORS = ("3.11", "3.12", "3.13")
FORMAT = 2  # part of what a lock is remembered by: raised when the same inputs would give another lock

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
    index_args: dict[str, str] = dataclasses.field(repr=False)


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


def lock(
    root: Path | None, dependencies: Sequence[str] | None, python: str, cache: Cache, on_step: Callable[[str], None]
) -> Locks:
    """The locks of a project, remembered by everything that they depend on.

    Raises PackagingError where the requirements do not resolve, or could not be installed on a worker.
    """
    inputs = collect(root, dependencies)
    parts = [str(FORMAT), inputs.source, *inputs.parts, uv.version(), python, cloudpickle_pin()]
    name = f"locks/{cache.mac(repr(parts).encode())}.json"
    with lock_for(str(cache.root), name):
        document = cache.read_json(name)
        if not document:
            on_step(f"locking the environment ({inputs.source})")
            document = _resolved(inputs, python)
            cache.write_json(name, document)
    return Locks(document["cpu"], document["tpu"], tuple(document["notices"]), index_args(inputs))


@functools.cache
def cloudpickle_pin() -> str:
    """The runner's own need: what reads the payload has to be what wrote it."""
    return f"cloudpickle=={importlib.metadata.version('cloudpickle')}"


def _resolved(inputs: Inputs, python: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        resolver = _Resolver(inputs, python, Path(folder))
        try:
            cpu, tpu = resolver.from_uv_lock() if inputs.source == "uv.lock" else resolver.resolve()
        except uv.UvFailed as exc:
            raise PackagingError(
                f"{inputs.source}: the requirements cannot be locked for Linux x86-64, Python {python}, "
                f"with {cloudpickle_pin()} for the runner:\n{exc}\nFix them; nothing was started."
            ) from None  # uv's words stand above
    text, notices = checked(cpu, inputs.source)
    return {"cpu": text, "tpu": checked(tpu, inputs.source)[0], "notices": notices}


class _Resolver:
    """One resolution: without TPU extras, then with them at the same versions."""

    def __init__(self, inputs: Inputs, python: str, scratch: Path) -> None:
        self._inputs = inputs
        self._python = python
        self._scratch = scratch

    def resolve(self) -> tuple[list[Pinned], list[Pinned]]:
        declared = list(self._inputs.lines)
        file = self._inputs.source if self._inputs.source in ("requirements.txt", "pyproject.toml") else None
        cpu = self._compile(declared, file)
        if not any(pin.name == "jax" for pin in cpu):
            return cpu, cpu
        return cpu, self._compile([*declared, "jax[tpu]"], file, cpu)

    def from_uv_lock(self) -> tuple[list[Pinned], list[Pinned]]:
        """The project's own lock with its own hashes; only what it lacks is resolved."""
        exported = uv.run([*_EXPORT_OPTIONS.split(), "--python", sys.executable], self._inputs.folder)
        # The runner's cloudpickle comes from here whatever the project locked.
        base = [pin for pin in parse_lock(exported) if pin.name != "cloudpickle"]
        names = {pin.name for pin in base}

        def completed(more: list[str]) -> list[Pinned]:
            return base + [pin for pin in self._compile(more, None, base) if pin.name not in names]

        cpu = completed([])
        return cpu, completed(["jax[tpu]"]) if "jax" in names else cpu

    def _compile(self, lines: list[str], file: str | None, pins: Sequence[Pinned] = ()) -> list[Pinned]:
        """What these requirements, a file's and the runner's resolve to, in the versions of `pins`."""
        arguments = [*_COMPILE_OPTIONS.split(), "--python", sys.executable, "--python-version", self._python]
        arguments += ["--python-platform", uv.WORKER_PLATFORM]
        if pins:
            constraints = self._scratch / "constraints.txt"
            constraints.write_text("".join(pin.line + "\n" for pin in pins if pin.name and not pin.location))
            arguments += ["--constraints", str(constraints)]
        arguments += [file] if file else []
        requirements = "\n".join([cloudpickle_pin(), *lines, ""])
        return parse_lock(uv.run([*arguments, "-"], self._inputs.folder, requirements))
