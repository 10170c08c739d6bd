"""What is still there: polling and process look-ups for end-to-end tests."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 60.0


def wait_until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> bool:
    """Whether the condition came true in time. Looks 20 times a second."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.05)
    return True


def processes_naming(command: str, environment: str) -> list[str]:
    """Command lines of other processes that contain `command`, and `environment` in their environment."""
    return list(processes(command, environment).values())


def processes(command: str, environment: str) -> dict[int, str]:
    """The same, by process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            variables = (entry / "environ").read_bytes().decode(errors="replace") if environment else ""
        except OSError:
            continue
        if command in line and environment in variables and int(entry.name) != os.getpid():
            found[int(entry.name)] = line
    return found
