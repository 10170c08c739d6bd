"""The simulated control plane as a client sees it over HTTP."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from launcher.sim import control
from tests.sim.tpu_fixtures import request, simulator

PROJECT = "projects/simulated-project"
NUMBERED = "projects/123456789"
REGION = f"{PROJECT}/locations/us-central1"
SERVICES = ("cloudfunctions", "cloudscheduler", "compute", "container", "run")
IAM = f"/iam.googleapis.com/v1/{PROJECT}"
COMPUTE = f"/compute.googleapis.com/compute/v1/{PROJECT}"
FUNCTIONS = f"/cloudfunctions.googleapis.com/v2/{REGION}/functions"
JOBS = f"/cloudscheduler.googleapis.com/v1/{REGION}/jobs"
PUBSUB = f"/pubsub.googleapis.com/v1/{PROJECT}"
SECRETS = f"/secretmanager.googleapis.com/v1/{PROJECT}/secrets"
CLUSTERS = f"/container.googleapis.com/v1/{REGION}/clusters"
BUILD = {"runtime": "python312", "entryPoint": "main", "source": {"storageSource": {"bucket": "b", "object": "o"}}}


@dataclass
class Api:
    """Requests to one simulator."""

    status: control.Status

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return request(self.status, method, path, body)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """The answer of a request that must succeed."""
        code, answer = self.ask(method, path, body)
        assert code == 200, answer
        return answer

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str, str]:
        """Code, status and message of a request that must not succeed, in Google's form."""
        code, answer = self.ask(method, path, body)
        error = answer["error"]
        assert code == error["code"] and code >= 400
        return code, error["status"], error["message"]

    def account(self, name: str) -> str:
        """The e-mail address of a new service account."""
        return str(self.ok("POST", f"{IAM}/serviceAccounts", {"accountId": name, "serviceAccount": {}})["email"])


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Api]:
    """A simulator whose services are all enabled."""
    with simulator(folder) as status:
        api = Api(status)
        names = [f"{name}.googleapis.com" for name in SERVICES]
        api.ok("POST", f"/serviceusage.googleapis.com/v1/{PROJECT}/services:batchEnable", {"serviceIds": names})
        yield api


@dataclass
class Target:
    """A function that is served here: what it was asked, and the statuses it answers with, the last one for ever."""

    url: str
    statuses: list[int]
    seen: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def target(*statuses: int) -> Iterator[Target]:
    """An HTTP server that remembers every request."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
            found.seen.append(asked)
            self.send_response(found.statuses.pop(0) if len(found.statuses) > 1 else found.statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET = do_PUT = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Target(f"http://127.0.0.1:{server.server_port}", list(statuses) or [200])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def body_of(asked: dict[str, Any]) -> Any:
    return json.loads(asked["body"])
