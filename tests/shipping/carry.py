"""The two ends of a call without what is between: `carry` in a user's process, `python -m …carry` as the worker."""

from __future__ import annotations

import json
import os
import pickle
import sys
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def carry(function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Packs a call into the folder $CARRY, as it would be in the bucket."""
    from launcher.shipping import pack

    folder = Path(os.environ["CARRY"])
    with pack(function, args, **options) as packed:
        for name, local in (("payload", packed.payload), ("archive", packed.archive)):
            if local is not None:
                with local.open() as source:
                    (folder / name).write_bytes(source.read())
        described = {"cwd": packed.cwd, "import_paths": packed.import_paths, "notices": packed.notices}
        (folder / "call.json").write_text(json.dumps({**described, "client_root": packed.client_root}))


def main(folder: Path) -> None:
    """Runs the call that is in a folder, and prints its result or its traceback."""
    call = json.loads((folder / "call.json").read_text())
    project = folder / "project"
    project.mkdir()
    if (folder / "archive").exists():
        with tarfile.open(folder / "archive") as tar:
            tar.extractall(project, filter="data")
    sys.path[:0] = [os.path.normpath(project / path) for path in call["import_paths"]]
    os.chdir(project / call["cwd"])
    with (folder / "payload").open("rb") as file:
        function, args, kwargs = pickle.load(file)
    try:
        print(json.dumps(function(*args, **kwargs)))
    except Exception:  # the user's own, to be shown
        print(traceback.format_exc())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
