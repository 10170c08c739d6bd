"""A small stand-in for what the agent talks to: one bucket, the metadata server, the deletion of queued resources."""

from __future__ import annotations

import datetime
import email.utils
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DROP = 0  # as the code of a fault: the connection is closed without an answer


@dataclass
class Stored:
    data: bytes
    generation: int
    updated: float


@dataclass
class Fault:
    """Answers `code` to the next `times` requests for which `when(method, path)` holds."""

    when: Callable[[str, str], bool]
    code: int
    times: int = 1


@dataclass
class Google:
    """State of the stand-in; `url` is its root. Thread-safe enough: one lock around each request's state."""

    objects: dict[str, Stored] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    preempted: bool = False
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _generation: int = 0

    def put(self, name: str, data: bytes) -> int:
        with self.lock:
            self._generation += 1
            self.objects[name] = Stored(data, self._generation, time.time())
        with self.changed:
            self.changed.notify_all()
        return self._generation

    def get(self, name: str) -> bytes:
        return self.objects[name].data

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Until a request made `condition` true."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "nothing happened"

    def fail(self, when: Callable[[str, str], bool], code: int, times: int = 1) -> Fault:
        fault = Fault(when, code, times)
        self.faults.append(fault)
        return fault

    def log(self, prefix: str) -> bytes:
        """The log's chunks, each at the offset of its name."""
        data = b""
        for name in sorted(name for name in self.objects if name.startswith(prefix)):
            assert int(name.removeprefix(prefix)) == len(data)
            data += self.get(name)
        return data


def serve() -> tuple[Google, ThreadingHTTPServer]:
    google = Google()

    class Bound(Handler):
        state = google

    server = Server(("127.0.0.1", 0), Bound)
    google.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return google, server


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # agents are killed, and leave answers unread
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    state: Google
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are written apart

    def log_message(self, *args: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        with self.state.lock:
            self.state.requests.append((self.command, unquote(self.path)))
            for fault in self.state.faults:
                if fault.times > 0 and fault.when(self.command, unquote(self.path)):
                    fault.times -= 1
                    if fault.code == DROP:
                        self.close_connection = True
                        self.connection.shutdown(2)
                        return
                    self._answer(fault.code, b'{"error": {"code": %d, "message": "injected"}}' % fault.code)
                    return
            self._route(url.path, query, body)
        with self.state.changed:
            self.state.changed.notify_all()

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _route(self, path: str, query: dict[str, str], body: bytes) -> None:
        if path.startswith("/computeMetadata/v1/instance/"):
            if self.headers.get("Metadata-Flavor") != "Google":
                self._answer(403)
            elif path.endswith("/token"):
                self._answer(200, b'{"access_token": "secret-token", "expires_in": 3599}')
            else:
                self._answer(200, b"TRUE" if self.state.preempted else b"FALSE")
        elif self.headers.get("Authorization") != "Bearer secret-token":
            self._answer(401)
        elif match := re.fullmatch("/storage/v1/b/jobs/o/(.*)", path):
            self._read(unquote(match[1]), query)
        elif path == "/upload/storage/v1/b/jobs/o" and query["uploadType"] == "media":
            self._write(query["name"], body, int(query["ifGenerationMatch"]))
        elif self.command == "DELETE" and path.startswith("/v2/projects/"):
            self.state.deleted.append(f"{path}?force={query['force']}")
            self._answer(200, b"{}")
        else:
            self._answer(404)

    def _read(self, name: str, query: dict[str, str]) -> None:
        found = self.state.objects.get(name)
        if found is None:
            self._answer(404)
            return
        if query.get("alt") != "media":
            updated = datetime.datetime.fromtimestamp(found.updated, datetime.UTC).isoformat()
            self._answer(200, json.dumps({"generation": str(found.generation), "updated": updated}).encode())
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        generation = {"X-Goog-Generation": str(found.generation)}
        self._answer(206 if start else 200, found.data[start:], **generation)

    def _write(self, name: str, data: bytes, expected: int) -> None:
        found = self.state.objects.get(name)
        if (found.generation if found else 0) != expected:
            self._answer(412)
            return
        self._answer(200, json.dumps({"generation": str(self.state.put(name, data))}).encode())

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response_only(code)
        self.send_header("Date", email.utils.formatdate(usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
