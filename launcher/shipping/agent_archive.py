"""What runs on the workers: one file with the agent and all of `import launcher` that works there."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

# What works with the standard library alone. The client's other modules need what no worker has.
_SOURCES = ("__init__.py", "decorator.py", "errors.py", "worker_context.py", "records/*.py", "agent/*.py")
_PARTS = frozenset(each.removesuffix(".py").partition("/")[0] for each in _SOURCES)
_MAIN = """\
from __future__ import annotations

import sys

from launcher.agent.main import main

sys.exit(main(sys.argv[1:]))  # argv[0] stays this file: the agent starts the runner from it too
"""


@functools.cache
def agent_archive() -> bytes:
    """A zip application, to be started as `python3 -I <file> <mode> …`; the same bytes for the same sources."""
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
    return target.getvalue()


def only_here(module: str) -> bool:
    """Whether a module is one of ours that workers do not have."""
    package, _, rest = module.partition(".")
    return package == "launcher" and rest != "" and rest.partition(".")[0] not in _PARTS
