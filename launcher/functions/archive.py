"""`python -m launcher.functions.archive OUT.zip`: what is deployed, cut from this source tree.

The same bytes from the same sources on any machine, so that its digest can name it.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_SOURCES = (
    "__init__.py", "config.py", "errors.py", "private_files.py", "setting_types.py", "records/*.py",
    "cloud/__init__.py", "cloud/credentials.py", "cloud/gcs_*.py", "cloud/retry.py", "cloud/seams.py",
    "cloud/storage.py", "cloud/tpu.py",
    "fleet/__init__.py", "fleet/freeze.py", "fleet/guard.py", "fleet/job_records.py", "fleet/lease_book.py",
    "fleet/lost_jobs.py", "fleet/platform.py", "fleet/reaper.py",
)  # fmt: skip


def function_archive() -> bytes:
    """A zip with main.py and requirements.txt at its root, as Cloud Functions want it, and the modules they need."""
    here = Path(__file__).parent
    sources = {name: (here / name).read_bytes() for name in ("main.py", "requirements.txt")}
    for pattern in _SOURCES:
        for path in _PACKAGE.glob(pattern):
            sources[f"launcher/{path.relative_to(_PACKAGE).as_posix()}"] = path.read_bytes()
    target = io.BytesIO()
    # Stored, not deflated: another zlib may deflate to other bytes.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            info = zipfile.ZipInfo(name)  # 1980-01-01, whatever the file's time
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, sources[name])
    return target.getvalue()


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m launcher.functions.archive OUT.zip\n")
        return 2
    target = Path(arguments[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(function_archive())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
