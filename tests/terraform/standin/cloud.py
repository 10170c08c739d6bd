"""REST as Google's provider speaks it: JSON, operations that are polled, errors in Google's words."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

Json = dict[str, Any]
_TIMEOUT_S = 60.0
_POLL_S = (0.05, 2.0)  # first, and longest


class CloudError(Exception):
    """The service refused."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Cloud:
    """One service. `endpoint` ends in its version: http://host/v2/."""

    def __init__(self, endpoint: str, token: str) -> None:
        self.endpoint = endpoint if endpoint.endswith("/") else endpoint + "/"
        self._token = token

    def call(self, method: str, path: str, body: Json | None = None, **query: str) -> Json:
        """The answer's body; {} where it has none."""
        content = None if body is None else json.dumps(body).encode()
        return self.send(method, self.endpoint + path, content, "application/json", query)

    def send(self, method: str, url: str, content: bytes | None, content_type: str, query: dict[str, str]) -> Json:
        full = f"{url}?{urllib.parse.urlencode({'alt': 'json', **query})}"
        headers = {"Authorization": f"Bearer {self._token}"}
        if content is not None:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(full, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as exc:
            with exc:
                raise CloudError(_google_error(exc.code, exc.read()), exc.code) from None
        except OSError as exc:
            raise CloudError(f"{method} {full}: {exc}") from exc
        found: Json = json.loads(raw) if raw else {}
        return found

    def find(self, path: str, **query: str) -> Json | None:
        """None where there is no such resource."""
        try:
            return self.call("GET", path, None, **query)
        except CloudError as exc:
            if exc.status == 404:
                return None
            raise

    def wait(self, operation: Json, doing: str, timeout_s: float = 1200.0) -> None:
        """Polls the operation until it is done."""
        deadline = time.monotonic() + timeout_s
        pause_s = _POLL_S[0]
        while not operation.get("done"):
            if time.monotonic() > deadline:
                raise CloudError(f"Error waiting for {doing}: timeout while waiting for state to become 'done: true'")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_S[1])
            operation = self.call("GET", operation["name"])
        if failed := operation.get("error"):
            raise CloudError(
                f"Error waiting for {doing}: Error code {failed.get('code')}, message: {failed.get('message')}"
            )


def _google_error(status: int, raw: bytes) -> str:
    try:
        error = json.loads(raw)["error"]
        reason = (error.get("errors") or [{}])[0].get("reason")
        return f"googleapi: Error {status}: {error['message']}" + (f", {reason}" if reason else "")
    except (ValueError, KeyError, TypeError):
        return f"googleapi: got HTTP response code {status} with body: {raw.decode(errors='replace')}"
