"""uv on the client, and the very uv that workers get."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uv

from launcher.errors import ConfigError, PackagingError
from launcher.records.jobs import Blob
from launcher.shipping.blobs import LocalBlob, of_bytes
from launcher.shipping.cache import Cache, lock_for
from launcher.shipping.requirements import mask

# What workers run: this version's binary in the wheel for Linux x86-64. Both change together.
UV_VERSION = "0.13.8"
UV_SHA256 = "4a7607589912d9c20e86b860b032f7c7f2913c9a3e76f46aef136885387452b8"

# Ubuntu 20.04, the oldest TPU image, has glibc 2.31.
WORKER_PLATFORM = "x86_64-manylinux_2_31"
TIMEOUT_S = 1800.0  # a resolution that builds large source distributions takes minutes
_SHOWN_LINES = 25


class UvFailed(Exception):
    """uv ended with an error; `str()` is its last lines, without credentials."""


@functools.cache
def version() -> str:
    """The client's own uv."""
    return importlib.metadata.version("uv")


def run(arguments: Sequence[str], folder: Path, stdin: str = "", variables: Mapping[str, str] | None = None) -> str:
    """uv's standard output. It is configured as it is for the user: environment, uv.toml, pyproject.toml.

    `variables` are added to its environment. Raises UvFailed; ConfigError where there is no uv.
    """
    try:
        binary = uv.find_uv_bin()
    except FileNotFoundError as exc:
        raise ConfigError(f"the program uv is missing ({exc}). Fix: pip install --force-reinstall uv") from exc
    environment = (
        os.environ | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"} | dict(variables or {})
    )
    # uv brings certificate roots of its own; behind a company's proxy only the machine's are right.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    try:
        done = subprocess.run(
            [binary, *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, text=True,
            encoding="utf-8", errors="replace", timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise UvFailed(f"uv {arguments[0]} gave no answer in {TIMEOUT_S:.0f} s") from exc
    if done.returncode != 0:
        lines = mask(done.stderr).strip().splitlines()[-_SHOWN_LINES:]
        raise UvFailed("\n".join(lines) or f"uv {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def uv_binary(cache: Cache, folder: Path, on_step: Callable[[str], None] = lambda step: None) -> LocalBlob:
    """The pinned uv for Linux x86-64, gzipped: the client's own where it is that one, else fetched once by uv.

    `folder`: the project's, whose package indexes it is fetched from. Raises PackagingError where it cannot be
    fetched, or is not the pinned binary.
    """

    def pack() -> tuple[str, bytes]:
        return UV_VERSION, gzip.compress(_own() or _fetched(folder, on_step), 1, mtime=0)

    return kept(cache, f"uv/{UV_SHA256}", pack)[1]


def kept(cache: Cache, name: str, make: Callable[[], tuple[str, bytes]]) -> tuple[str, LocalBlob]:
    """A version and its bytes, made once on this machine."""
    with lock_for(name, str(cache.root)):
        path = cache.root / f"{name}.gz"
        known = cache.read_json(f"{name}.json")
        if "version" in known and path.is_file() and path.stat().st_size == known["size"]:
            blob = Blob(known["sha256"], known["size"])
            return known["version"], LocalBlob(blob, known["crc32c"], lambda: path.open("rb"))
        version, data = make()
        local = of_bytes(data)
        cache.write(f"{name}.gz", data)
        cache.write_json(f"{name}.json", {"version": version, **dataclasses.asdict(local.blob), "crc32c": local.crc32c})
        return version, local


def _own() -> bytes | None:
    if version() != UV_VERSION:
        return None
    try:
        binary = Path(uv.find_uv_bin()).read_bytes()
    except OSError:
        return None
    return binary if hashlib.sha256(binary).hexdigest() == UV_SHA256 else None


def _fetched(folder: Path, on_step: Callable[[str], None]) -> bytes:
    on_step(f"fetching uv {UV_VERSION} for the workers")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "uv"
        arguments = ["pip", "install", "--quiet", "--target", str(target), "--no-deps", "--only-binary", ":all:"]
        arguments += ["--python", sys.executable, "--python-platform", "x86_64-manylinux_2_28"]
        try:
            run([*arguments, f"uv=={UV_VERSION}"], folder)
            binary = (target / "bin" / "uv").read_bytes()
        except (UvFailed, OSError) as exc:
            raise PackagingError(
                f"cannot fetch uv {UV_VERSION} for Linux x86-64, which sets up Python on the workers:\n{exc}\n"
                f"Fix: make that version available in your package index, or install it here: uv=={UV_VERSION}"
            ) from exc
    if hashlib.sha256(binary).hexdigest() != UV_SHA256:
        raise PackagingError(
            f"the uv {UV_VERSION} that your package index serves for Linux x86-64 is not the published one "
            f"(SHA-256 {hashlib.sha256(binary).hexdigest()}, expected {UV_SHA256}). Fix: check that index."
        )
    return binary
