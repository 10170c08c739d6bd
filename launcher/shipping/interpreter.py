"""A Python for workers that have no internet to fetch one from: uv fetches and checks it here, and it is sent once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from launcher.errors import PackagingError
from launcher.shipping import uv
from launcher.shipping.blobs import LocalBlob
from launcher.shipping.cache import Cache


def fetch(cache: Cache, folder: Path, python: str, on_step: Callable[[str], None]) -> tuple[str, LocalBlob]:
    """The whole version of a `python` ("3.11") for Linux x86-64, and the archive that uv installs it from: about 30 MB.

    Kept until the client's uv changes: a newer one knows newer builds. `folder`: the project's, whose settings uv
    obeys. Raises PackagingError where it cannot be had.
    """

    def download() -> tuple[str, bytes]:
        on_step(f"fetching Python {python} for the workers, which have no internet")
        with tempfile.TemporaryDirectory() as scratch:
            kept, installed = Path(scratch, "archives"), Path(scratch, "installed")
            request = f"cpython-{python}-linux-x86_64-gnu"
            arguments = ["python", "install", "--no-bin", "--install-dir", str(installed), request]
            try:
                uv.run(arguments, folder, variables={"UV_PYTHON_DOWNLOADS": "manual", "UV_PYTHON_CACHE_DIR": str(kept)})
                (archive,) = kept.glob("*.tar.gz")
                (name,) = (each.name for each in installed.glob("cpython-*") if not each.is_symlink())
                return name.split("-")[1], archive.read_bytes()
            except (uv.UvFailed, OSError, ValueError) as exc:
                raise PackagingError(
                    f"cannot fetch Python {python} for Linux x86-64, which the workers of this platform need from here "
                    f"as they have no internet:\n{exc}\n"
                    "Fix: set UV_PYTHON_INSTALL_MIRROR to where this machine can fetch one from."
                ) from exc

    return uv.kept(cache, f"python/{python}-uv-{uv.version()}", download)
