"""What survives a restart of the simulator: resources, policies, operations and the rest, as one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from launcher.sim.google_calls import STORAGE, TPU
from launcher.sim.state import Body, write_atomically

_FIRST_NUMBER = 1234500000000001001  # as long as Google's
_KEPT = 500  # operations beyond this are forgotten, oldest first


class Store:
    """Plain tables. Change them, then `save()`.

    resources: "<host>/<full name>" -> body; policies: the same of what has an IAM policy.
    operations: "<host>/<full name>" -> body. payloads: a secret version's full name -> its data in base64.
    enabled: services, in the order they were enabled. served: a function's URI -> where it really is.
    pods: a cluster's full name -> its pods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.resources: dict[str, Body] = stored.get("resources", {})
        self.policies: dict[str, Body] = stored.get("policies", {})
        self.operations: dict[str, Body] = stored.get("operations", {})
        self.payloads: dict[str, str] = stored.get("payloads", {})
        self.enabled: list[str] = stored.get("enabled", [TPU, STORAGE])
        self.served: dict[str, str] = stored.get("served", {})
        self.pods: dict[str, list[Body]] = stored.get("pods", {})
        self._next_number: int = stored.get("next_number", _FIRST_NUMBER)

    def number(self) -> str:
        """A number that nothing else has."""
        self._next_number += 1
        return str(self._next_number - 1)

    def remember(self, key: str, operation: Body) -> None:
        """Keep an operation, for whoever asks how it went."""
        self.operations[key] = operation
        for old in list(self.operations)[:-_KEPT]:
            del self.operations[old]

    def forget(self, key: str) -> None:
        """Delete a resource and all that is below it."""
        for table in (self.resources, self.policies):
            for each in [each for each in table if each == key or each.startswith(f"{key}/")]:
                del table[each]

    def save(self) -> None:
        """Write everything to the file."""
        write_atomically(
            self._path,
            {
                "resources": self.resources,
                "policies": self.policies,
                "operations": self.operations,
                "payloads": self.payloads,
                "enabled": self.enabled,
                "served": self.served,
                "pods": self.pods,
                "next_number": self._next_number,
            },
        )
