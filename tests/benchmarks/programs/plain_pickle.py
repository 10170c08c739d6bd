"""What pickle itself holds: `python plain_pickle.py dump|load|pass_on|nothing`, with 1 GB in `plain.pkl`."""

from __future__ import annotations

import json
import os
import pickle
import sys

SIZE = 1_000_000_000
_FILE = "plain.pkl"


def own_peak_mb() -> float:
    """The most memory that this process held at once, in 10^6 bytes."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmHWM:"))


def dump(value: bytes) -> None:
    with open(_FILE, "wb") as file:
        pickle.dump((print, (value,), {}), file, protocol=5)


def load() -> bytes:
    with open(_FILE, "rb") as file:
        value: bytes = pickle.load(file)[1][0]
    return value


def main(what: str) -> None:
    if what == "dump":
        dump(b"x" * SIZE)
    elif what == "load":
        load()
    elif what == "pass_on":
        value = load()
        os.unlink(_FILE)
        dump(value)
    print(json.dumps({"peak_mb": own_peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1])
