"""The detached driver of one job: the same engine as in a blocking call, in a process of its own.

`python -m launcher.driver` with a JSON document on standard input (profile, job record, key and, unless the job is
only to be ended, secrets). Its own output goes to the log that whoever started it chose.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from launcher.cancelling import cancel
from launcher.config import Profile
from launcher.errors import CloudError, Unavailable
from launcher.fleet.engine import RELEASE_TIMEOUT_S, Engine
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.release import release
from launcher.fleet.session import Sessions
from launcher.records import codec
from launcher.records.jobs import Intent, JobRecord
from launcher.records.leases import LeaseRefused
from launcher.submission import agent_file


class _Lines:
    """Progress as time-stamped lines on standard error. The job's own log is in the bucket."""

    def phase(self, name: str, detail: str = "") -> None:
        self.notice(f"{name} {detail}".rstrip())

    def notice(self, line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(stamp, line, file=sys.stderr, flush=True)

    def log(self, data: bytes, worker: int = 0) -> None:
        pass


def main() -> int:
    stop = threading.Event()

    def end(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # who asks twice means it; leases and timers end what is left

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    document: dict[str, Any] = json.load(sys.stdin)
    platform = Platform(codec.decode(Profile, json.dumps(document["profile"])))
    record = codec.decode(JobRecord, json.dumps(document["record"]))
    key = document["key"]
    if document["run"] is None:
        intent = codec.decode(Intent, json.dumps(document["intent"])) if document["intent"] else None
        return 0 if _end(platform, record, key, intent) else 1
    patience_s = _patience_s(platform.profile)
    engine = Engine(
        platform,
        record,
        agent_file(),
        key,
        progress=_Lines(),
        cancel=stop,
        sessions=Sessions(),
        release_timeout_s=patience_s,
        **document["run"],
    )
    try:
        _Lines().notice(f"{record.job_id} {engine.run().status}")
    finally:
        gone = engine.intent is None or _end(platform, record, key, engine.intent)
    return 0 if gone else 1


def _end(platform: Platform, record: JobRecord, key: str, intent: Intent | None) -> bool:
    """Ends the job and its node, through an outage of the bucket too: the holder of a lease deletes without it."""
    patience_s = _patience_s(platform.profile)
    poll = Poll(platform.clock, timeout_s=patience_s, longest_s=60.0)
    while True:
        try:
            return cancel(platform, record, key, timeout_s=patience_s, force=True)
        except Unavailable:
            if poll.expired:
                raise
        if intent is not None and intent.made:
            with contextlib.suppress(CloudError, LeaseRefused):
                release(
                    platform,
                    intent.zone,
                    intent.queued_resource,
                    by=intent.holder,
                    reason="the job was ended",
                    timeout_s=60.0,
                )
        poll.pause()


def _patience_s(profile: Profile) -> float:
    """How long a deletion is asked for through an outage. What served on this machine was stopped, nodes and all."""
    local = urlsplit(profile.tpu_endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    return 30.0 if local else RELEASE_TIMEOUT_S


if __name__ == "__main__":
    sys.exit(main())
