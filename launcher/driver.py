"""The detached driver of one job: the same engine as in a blocking call, in a process of its own.

`python -m launcher.driver` with a JSON document on standard input (profile, job record, key, secrets).
Its own output goes to the log that whoever started it chose.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from typing import Any

from launcher.cloud.seams import Clock
from launcher.errors import LauncherError
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.engine import RELEASE_TIMEOUT_S, Engine
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.records import codec
from launcher.records.jobs import Intent, JobRecord
from launcher.records.paths import JobPaths

_CANCEL_POLL_S = 2.0


class _Lines:
    """Progress as time-stamped lines on standard error. The job's own log is in the bucket."""

    def phase(self, name: str, detail: str = "") -> None:
        self.notice(f"{name} {detail}".rstrip())

    def notice(self, line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        sys.stderr.write(f"{stamp} {line}\n")
        sys.stderr.flush()

    def log(self, data: bytes, worker: int = 0) -> None:
        pass


def main() -> int:
    from launcher.config import Profile

    document: dict[str, Any] = json.load(sys.stdin)
    platform = Platform(codec.decode(Profile, json.dumps(document["profile"])))
    record = codec.decode(JobRecord, json.dumps(document["record"]))
    if "release" in document:
        return _release(platform, record, codec.decode(Intent, json.dumps(document["release"])))
    return _run(platform, record, document)


def _run(platform: Platform, record: JobRecord, document: dict[str, Any]) -> int:
    from launcher.submission import agent_file

    cancel = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    signal.signal(signal.SIGINT, lambda *_: cancel.set())
    watch_for_cancel(platform, record, cancel)
    agent: AgentFile = agent_file()
    engine = Engine(
        platform,
        record,
        agent,
        document["key"],
        document["secrets"],
        _Lines(),
        cancel,
        index_args=document["index_args"],
    )
    outcome = engine.run()
    _Lines().notice(f"{record.job_id} {outcome.status}")
    return 0


def watch_for_cancel(platform: Platform, record: JobRecord, cancel: threading.Event) -> None:
    """Sets `cancel` once cancel.json exists: somebody cancelled from elsewhere."""
    name = JobPaths(record.owner, record.job_id).cancel

    def watch(clock: Clock) -> None:
        while not clock.wait(_CANCEL_POLL_S, cancel):
            try:
                if platform.store.stat(name) is not None:
                    cancel.set()
            except LauncherError:
                continue  # an outage: the next look will tell

    threading.Thread(target=watch, args=(platform.clock,), name="cancel-watch", daemon=True).start()


def _release(platform: Platform, record: JobRecord, intent: Intent) -> int:
    holder = f"{record.job_id}/{intent.attempt}"
    reason = f"job {record.job_id} ended"
    gone = release(
        platform,
        intent.zone,
        intent.queued_resource,
        by=holder,
        reason=reason,
        timeout_s=RELEASE_TIMEOUT_S,
    )
    return 0 if gone else 1


if __name__ == "__main__":
    sys.exit(main())
