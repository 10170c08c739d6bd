"""Submits the project it stands in many times at once: `python fan_out.py TIMES`. Prints the bytes sent."""

from __future__ import annotations

import concurrent.futures
import json
import sys

import wire

import launcher


@launcher.run
def number(given: int) -> int:
    return given


def main(times: int) -> None:
    wire.without_drivers()
    sent = wire.Sent()
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        jobs = list(pool.map(number.submit, range(times)))
    if len({job.id for job in jobs}) != times:
        raise AssertionError(f"not {times} jobs: {jobs}")
    print(json.dumps(sent.body_bytes))


if __name__ == "__main__":
    main(int(sys.argv[1]))
