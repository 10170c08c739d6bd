"""platform.json beside the fakes."""

from __future__ import annotations

import json
from typing import Any

from launcher.records.paths import PLATFORM
from tests.fleet.fakes import ZONE
from tests.records.store import MemoryStore

OTHER_ZONE = "us-west4-a"


def document(**parts: Any) -> dict[str, Any]:
    base = {"schema": 1, "platform": "p", "project": "project", "zones": [ZONE, OTHER_ZONE], "bucket": "b"}
    return {**base, "control_bucket": "c", **parts}


def pool(**rules: Any) -> dict[str, Any]:
    return {"accelerator": "v5litepod-1", "zones": [ZONE], **rules}


def give_file(world: Any, **parts: Any) -> MemoryStore:
    """`world` has a profile with control bucket "c", which holds this file from now on. The bucket."""
    store = vars(world.platform).setdefault("control_store", MemoryStore())
    found = store.read(PLATFORM)
    data = json.dumps(document(**parts)).encode()
    assert store.replace(PLATFORM, data, found.generation if found else 0)
    return store
