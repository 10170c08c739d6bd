"""Peak memory while a gigabyte goes to a function and comes back, on both sides."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

from tests.benchmarks.sandbox import Sandbox
from tests.benchmarks.table import Of, Row

_GOAL_MB = 200.0
_EVERY_S = 0.02  # the kernel keeps the high-water mark: only a process's last moment can be missed


def peaks(sandbox: Sandbox) -> Iterator[Row]:
    """One job that returns its argument, sent by one process and received by another."""
    sandbox.simulate()
    project = sandbox.project("gigabyte")
    with _Watch(sandbox.worker_homes) as watch:
        sent = sandbox.program(project, "gigabyte", "send")
        received = sandbox.program(project, "gigabyte", "receive", sent["job"])
    plain = {what: sandbox.program(project, "plain_pickle", what)["peak_mb"] for what in ("dump", "load", "pass_on")}
    agent = sandbox.program(project, "plain_pickle", "nothing")["peak_mb"]
    for what, measured, floor, floor_is in (
        ("client, sends a 1 GB argument", sent["peak_mb"], plain["dump"], "pickle.dump of it to a file"),
        ("client, receives a 1 GB result", received["peak_mb"], plain["load"], "pickle.load of it from a file"),
        ("runner, 1 GB in and out", watch.mb["runner"], plain["pass_on"], "pickle.load, then pickle.dump of it"),
        ("agent's other processes, 1 GB in and out", watch.mb["agent"], agent, "interpreter that does nothing"),
    ):
        yield Row(f"peak memory: {what}", "MB", measured, floor, floor_is, _GOAL_MB, Of.ABOVE_FLOOR, 1)


class _Watch(threading.Thread):
    """Reads the high-water marks of the workers' processes: `mb` has the largest of each kind."""

    def __init__(self, homes: str) -> None:
        super().__init__(daemon=True)
        self._homes = homes.encode()
        self._others = set(_pids())
        self._ended = threading.Event()
        self.mb = {"runner": 0.0, "agent": 0.0}

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            for pid in _pids():
                if pid not in self._others:
                    with contextlib.suppress(OSError):
                        self._look(pid)

    def _look(self, pid: int) -> None:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if not any(word.startswith(self._homes) and word.endswith(b".pyz") for word in words):
            return
        kind = "runner" if b"run" in words else "agent"
        self.mb[kind] = max(self.mb[kind], peak_mb(pid))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def peak_mb(pid: int) -> float:
    """The most memory that a process held at once, in 10^6 bytes. OSError where it is gone."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        found = re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0  # a process that has ended has no memory
