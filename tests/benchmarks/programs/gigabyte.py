"""`python gigabyte.py send` submits a job with 1 GB; `… receive JOB` waits for what it returns, which is the same.

Each prints the most memory that it held.
"""

from __future__ import annotations

import json
import sys

from plain_pickle import SIZE, own_peak_mb

import launcher


@launcher.run
def echo(data: bytes) -> bytes:
    return data


def main(what: str, job_id: str = "") -> None:
    if what == "send":
        job_id = echo.submit(b"x" * SIZE).id
    else:
        value = launcher.attach(job_id).result()
        if not isinstance(value, bytes) or len(value) != SIZE:
            raise AssertionError("not what was sent")
    print(json.dumps({"job": job_id, "peak_mb": own_peak_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
