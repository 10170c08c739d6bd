"""Warm calls of a function that does nothing, beside the same three steps made by hand: `python warm.py calls RUNS`.

`python warm.py first` makes one call and tells nothing: the process is what is measured.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import sys
import time

import cloudpickle

import launcher
from launcher.config import load_profile
from launcher.fleet.platform import platform_of
from launcher.fleet.session import Session, sessions_of

# What has to happen on the worker in any case: get the payload, call it, put the result.
_BY_HAND = """
import http.client, pickle, sys
address, bucket, name = sys.argv[1:]
google = http.client.HTTPConnection(address)
google.request("GET", f"/storage/v1/b/{bucket}/o/{name}?alt=media")
function, args, kwargs = pickle.loads(google.getresponse().read())
value = pickle.dumps(function(*args, **kwargs), protocol=5)
upload = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&ifGenerationMatch=0&name={name}-result"
google.request("POST", upload, value)
google.getresponse().read()
"""


@launcher.run
def nothing(number: int) -> int:
    return number


def main(what: str, runs: int = 1) -> None:
    if what == "first":
        nothing(0)
        return
    nothing(0)
    pairs = []
    for number in range(1, runs + 1):
        started = time.perf_counter()
        if nothing(number) != number:
            raise AssertionError("another call's value")
        called = time.perf_counter()
        by_hand(number)
        pairs.append((called - started, time.perf_counter() - called))
    print(json.dumps(pairs))


def by_hand(number: int) -> None:
    """Put the payload, exec, get the result, in sequence, on the connections of the calls."""
    platform = platform_of(load_profile())
    (session,) = idle = sessions_of(platform)._idle
    assert isinstance(session, Session) and session._transport is not None and len(idle) == 1
    payload = cloudpickle.dumps((lambda: number, (), {}), protocol=5)
    name = hashlib.sha256(payload).hexdigest()
    platform.store.create(name, payload)
    address = platform.profile.storage_endpoint.removeprefix("http://")
    words = [address, platform.profile.bucket, name]
    command = f"exec ~/.launcher/envs/*/bin/python -c {shlex.quote(_BY_HAND)} {shlex.join(words)}"
    channel = session._transport.exec(command)
    channel.close_stdin()
    while channel.read():
        pass
    if channel.exit_status() != 0:
        raise AssertionError(channel.stderr().decode())
    result = io.BytesIO()
    platform.store.download(f"{name}-result", result)
    if cloudpickle.loads(result.getvalue()) != number:
        raise AssertionError("the call by hand did not run")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
