"""An HTTP relay in front of a simulator that misbehaves on request, and a clock that nobody waits for."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NOT_FORWARDED = ("host", "connection", "transfer-encoding", "content-length")


class FakeClock:
    """Time passes only by waiting."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        with self._lock:
            self.waits.append(seconds)
            self.now += seconds
        return event.is_set() if event is not None else False


@dataclasses.dataclass
class Fault:
    """What happens to the next request whose "METHOD path?query" contains `match`.

    status: answer this instead. lose_request, lose_answer: close the connection before or after forwarding.
    cut: only so many bytes of the answer's body. headers: set in the answer (None: removed).
    """

    match: str
    status: int = 0
    body: Any = None
    lose_request: bool = False
    lose_answer: bool = False
    cut: int | None = None
    headers: dict[str, str | None] = dataclasses.field(default_factory=dict)
    times: int = 1


class Relay:
    """`url` answers as `target` does, but for `faults`. `seen`: every request line; `ranges`: every Content-Range."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.ranges: list[str] = []
        self.extra_query = ""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                relay.serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # clients keep connections open; their threads end with the process
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        line = f"{handler.command} {urllib.parse.unquote(handler.path)}"
        with self._lock:
            self.seen.append(line)
            self.ranges += [handler.headers["Content-Range"]] if "Content-Range" in handler.headers else []
            fault = self._next_fault(line)
        if fault is not None and fault.lose_request:
            handler.close_connection = True
            return
        if fault is not None and fault.status:
            self._answer(handler, fault.status, {"Content-Type": "application/json"}, _as_bytes(fault.body), fault)
            return
        status, headers, data = self._forward(handler, body)
        if fault is not None and fault.lose_answer:
            handler.close_connection = True
            return
        self._answer(handler, status, headers, data, fault)

    def _next_fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.match in line:
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        path = handler.path
        if self.extra_query:
            path += ("&" if "?" in path else "?") + self.extra_query
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _NOT_FORWARDED}
        connection = http.client.HTTPConnection(self.target.removeprefix("http://"), timeout=30)
        try:
            connection.request(handler.command, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes, fault: Fault | None
    ) -> None:
        headers = {name.lower(): value.replace(self.target, self.url) for name, value in headers.items()}
        for name, value in (fault.headers if fault is not None else {}).items():
            if value is None:
                headers.pop(name.lower(), None)
            else:
                headers[name.lower()] = value
        for name in _NOT_FORWARDED:
            headers.pop(name, None)
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if fault is not None and fault.cut is not None:
            handler.wfile.write(data[: fault.cut])
            handler.close_connection = True
            return
        handler.wfile.write(data)


def google_error(code: int, message: str, status: str = "", reason: str = "") -> dict[str, Any]:
    """An error body of Google's shape."""
    error: dict[str, Any] = {"code": code, "message": message}
    if status:
        error["status"] = status
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return {"error": error}


def _as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
