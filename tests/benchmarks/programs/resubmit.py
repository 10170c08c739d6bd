"""Submits the project it stands in again and again: `python resubmit.py RUNS`.

Prints a list with, for each run: seconds of the submission, seconds of a bare walk of the same tree, bytes sent, and
the size of the job's record.
"""

from __future__ import annotations

import json
import os
import sys
import time

import wire

import launcher
from launcher.records import codec


@launcher.run
def nothing() -> None:
    return None


def walk(folder: str) -> int:
    """What no look for changes can do without: one stat of each file."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += walk(entry.path)
            else:
                total += entry.stat(follow_symlinks=False).st_size
    return total


def main(runs: int) -> None:
    wire.without_drivers()
    sent = wire.Sent()
    figures = []
    for _ in range(runs + 2):  # the first packs the project, the second proves that its files are old enough
        at, body_bytes = time.perf_counter(), sent.body_bytes
        job = nothing.submit()
        submit_s, body_bytes = time.perf_counter() - at, sent.body_bytes - body_bytes
        at = time.perf_counter()
        walk(".")
        walk_s = time.perf_counter() - at
        figures.append(
            {
                "submit_s": submit_s,
                "walk_s": walk_s,
                "sent_bytes": body_bytes,
                "record_bytes": len(codec.encode(job.record)),
            }
        )
    print(json.dumps(figures[2:]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
