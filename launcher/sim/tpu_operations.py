"""Long-running operations of the Cloud TPU API: begun by a request, finished by the change it asked for."""

from __future__ import annotations

import secrets
from typing import Any

from launcher.sim.clock import Clock, timestamp
from launcher.sim.http import GoogleError
from launcher.sim.state import Body, State

_METADATA_TYPE = "type.googleapis.com/google.cloud.tpu.v2.OperationMetadata"
NODE_TYPE = "type.googleapis.com/google.cloud.tpu.v2.Node"
QUEUED_RESOURCE_TYPE = "type.googleapis.com/google.cloud.tpu.v2.QueuedResource"
#: What a deletion answers.
EMPTY: Body = {"@type": "type.googleapis.com/google.protobuf.Empty"}

#: google.rpc.Code numbers used in operations and in the state of queued resources.
CANCELLED = 1
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
INTERNAL = 13

_KEPT = 2000  # finished operations beyond this are forgotten, oldest first


class Operations:
    """The operations table. An operation is found by the verb and the target in its metadata."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def begin(self, verb: str, target: str, request_id: str = "") -> Body:
        """Add a running operation and return it. `request_id` makes a repeated request find it again."""
        now = self._clock.now()
        location = target.rsplit("/", 2)[0]
        name = f"{location}/operations/operation-{int(now * 1000)}-{secrets.token_hex(8)}"
        self._state.operations[name] = {
            "name": name,
            "metadata": {
                "@type": _METADATA_TYPE,
                "createTime": timestamp(now),
                "target": target,
                "verb": verb,
                "cancelRequested": False,
                "apiVersion": "v2",
            },
            "done": False,
        }
        if request_id:
            self._state.request_ids[f"{verb} {target} {request_id}"] = name
        self._forget()
        self._state.save()
        return self._state.operations[name]

    def repeated(self, verb: str, target: str, request_id: str) -> Body | None:
        """The operation that the same request (same non-empty requestId) began, or None."""
        name = self._state.request_ids.get(f"{verb} {target} {request_id}") if request_id else None
        return self._state.operations.get(name) if name else None

    def running(self, target: str, verb: str | None = None) -> bool:
        """Whether an operation on `target` is not done; with `verb`, one of that verb."""
        return any(
            not operation["done"]
            and operation["metadata"]["target"] == target
            and verb in (None, operation["metadata"]["verb"])
            for operation in self._state.operations.values()
        )

    def refuse_if_running(self, target: str, verb: str | None = None) -> None:
        """Raise Google's 409 for a second operation on `target` while one runs."""
        if self.running(target, verb):
            raise GoogleError(409, "unable to queue the operation", "ABORTED")

    def finish(self, verb: str, target: str, *, response: Body | None = None, error: Body | None = None) -> None:
        """End every running `verb` on `target` with `response` (with its `@type`) or `error` (code, message)."""
        for operation in self._state.operations.values():
            metadata = operation["metadata"]
            if not operation["done"] and (metadata["verb"], metadata["target"]) == (verb, target):
                operation["done"] = True
                metadata["endTime"] = timestamp(self._clock.now())
                outcome: dict[str, Any] = {"error": error} if error is not None else {"response": response}
                operation.update(outcome)
        self._state.save()

    def _forget(self) -> None:
        excess = len(self._state.operations) - _KEPT
        if excess <= 0:
            return
        done = [name for name, operation in self._state.operations.items() if operation["done"]]
        forgotten = set(done[:excess])
        for name in forgotten:
            del self._state.operations[name]
        self._state.request_ids = {key: name for key, name in self._state.request_ids.items() if name not in forgotten}


def status(code: int, message: str) -> Body:
    """A google.rpc.Status."""
    return {"code": code, "message": message}


def resource_response(kind: str, body: Body) -> Body:
    """`body` as an operation's response: a copy, with the type `kind` in front."""
    return {"@type": kind, **body}
