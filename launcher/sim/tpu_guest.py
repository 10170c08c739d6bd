"""nodes.getGuestAttributes: what the guests of a node published, worker by worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.sim.tpu_schema import bad_request

#: namespace -> key -> value, of one worker.
Attributes = Mapping[str, Mapping[str, str]]


def guest_attributes(workers: Sequence[Attributes], query_path: str, worker_ids: Sequence[str]) -> dict[str, Any]:
    """The answer for `query_path` ("", "namespace/" or "namespace/key") and workers; no ids: all workers.

    Raises GoogleError 400 for a worker that the node does not have.
    """
    wanted = [_index(each, len(workers)) for each in worker_ids] or range(len(workers))
    namespace, _, key = query_path.strip("/").partition("/")
    return {
        "guestAttributes": [
            {"queryPath": query_path, "queryValue": {"items": _items(workers[index], namespace, key)}}
            for index in wanted
        ]
    }


def _items(attributes: Attributes, namespace: str, key: str) -> list[dict[str, str]]:
    return [
        {"namespace": space, "key": name, "value": value}
        for space, values in sorted(attributes.items())
        if namespace in ("", space)
        for name, value in sorted(values.items())
        if key in ("", name)
    ]


def _index(worker_id: str, count: int) -> int:
    if not worker_id.isdecimal() or int(worker_id) >= count:
        message = f'Invalid worker id "{worker_id}": the node has workers 0 to {count - 1}.'
        raise bad_request([("worker_ids", message)])
    return int(worker_id)
