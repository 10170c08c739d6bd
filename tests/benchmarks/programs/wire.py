"""For the measured programs: what leaves the process, and a stand-in for the detached driver."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import requests

from launcher import submission


class Sent:
    """Counts the bytes of all request bodies from now on, whichever library sends them through requests."""

    def __init__(self) -> None:
        self.body_bytes = 0
        send = requests.adapters.HTTPAdapter.send

        def counting(adapter: Any, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            self.body_bytes += int(request.headers.get("Content-Length") or 0)
            return send(adapter, request, *args, **kwargs)

        requests.adapters.HTTPAdapter.send = counting  # type: ignore[method-assign]


def without_drivers() -> None:
    """Lets the launcher start a process that only reads its orders: a real one would load what is measured."""
    stand_in = Path("driver-stand-in").absolute()
    stand_in.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    stand_in.chmod(0o755)
    submission.sys = types.SimpleNamespace(executable=str(stand_in))  # type: ignore[attr-defined]
