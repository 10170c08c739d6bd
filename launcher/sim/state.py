"""What survives a restart of the simulator: nodes, queue, operations and addresses, as one JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: A resource in the form the REST API shows it.
Body = dict[str, Any]


def write_atomically(path: Path, value: object) -> None:
    """Replace `path` with `value` as JSON, mode 0600; a reader sees the old file or the new one."""
    write_text(path, json.dumps(value, indent=1))


def write_text(path: Path, text: str) -> None:
    """The same for plain text."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


class State:
    """The tables of the simulated Cloud TPU service. Change them, then `save()`.

    nodes, queued_resources, operations: full resource name -> body.
    request_ids: "<verb> <target> <requestId>" -> operation name.
    settings: ports and the address range this simulator took, so that a restart keeps them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.nodes: dict[str, Body] = stored.get("nodes", {})
        self.queued_resources: dict[str, Body] = stored.get("queued_resources", {})
        self.operations: dict[str, Body] = stored.get("operations", {})
        self.request_ids: dict[str, str] = stored.get("request_ids", {})
        self.settings: dict[str, int] = stored.get("settings", {})

    def save(self) -> None:
        """Write everything to the state file."""
        write_atomically(
            self._path,
            {
                "nodes": self.nodes,
                "queued_resources": self.queued_resources,
                "operations": self.operations,
                "request_ids": self.request_ids,
                "settings": self.settings,
            },
        )
