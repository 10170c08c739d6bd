"""What runs on the workers: one file with the agent and all of `import launcher` that works there."""

from __future__ import annotations

import dataclasses
import functools
import io
import zipfile
from pathlib import Path

from launcher.records.jobs import Blob
from launcher.shipping.local_blob import of_bytes

# What works with the standard library alone. The client's other modules need what no worker has.
_SOURCES = ("__init__.py", "decorator.py", "errors.py", "worker_context.py", "records/*.py", "agent/*.py")
_MAIN = """\
from __future__ import annotations

import sys

from launcher.agent.main import main

sys.exit(main(sys.argv[1:]))  # argv[0] stays this file: the agent starts the runner from it too
"""


@dataclasses.dataclass(frozen=True)
class AgentArchive:
    """A zip application, to be started as `python3 -I <file> <mode> …`; the same bytes for the same sources."""

    blob: Blob
    data: bytes = dataclasses.field(repr=False)


@functools.cache
def agent_archive() -> AgentArchive:
    """Built in memory from this installation's own sources, once per process."""
    package = Path(__file__).parents[1]
    sources = {"__main__.py": _MAIN.encode()}
    for pattern in _SOURCES:
        for path in package.glob(pattern):
            sources[f"launcher/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(sources):
            info = zipfile.ZipInfo(name)  # 1980-01-01, whatever the file's time
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, sources[name])
    data = target.getvalue()
    return AgentArchive(of_bytes(data).blob, data)
