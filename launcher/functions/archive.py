"""`python -m launcher.functions.archive OUT.zip`: what is deployed, cut from this source tree.

sources.json says what that is; Terraform reads it too (terraform/modules/idle-shutdown) and needs no command first.
The same bytes from the same sources on any machine, so that a digest can name them.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def function_archive() -> bytes:
    """A zip with main.py and requirements.txt at its root, as Cloud Functions want it, and the modules they need."""
    here = Path(__file__).parent
    sources = {name: (here / name).read_bytes() for name in ("main.py", "requirements.txt")}
    for pattern in json.loads((here / "sources.json").read_bytes()):
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
