"""Long-running operations, all of them done when they are answered."""

from __future__ import annotations

from launcher.sim.services.backend import SIMULATOR, Call
from launcher.sim.state import Body

_GKE_TYPES = {"clusters": "CLUSTER", "nodePools": "NODE_POOL"}


def long_running(call: Call, verb: str, body: Body | None) -> Body:
    """google.longrunning.Operation, of most services. No client here reads the types in it."""
    name = f"{'/'.join(call.parent.split('/')[:4])}/operations/operation-{call.store.number()}"
    operation: Body = {
        "name": name,
        "metadata": {
            "@type": "type.googleapis.com/google.cloud.x.OperationMetadata",
            "createTime": call.backend.now(),
        },
        "done": True,
        "response": {"@type": "type.googleapis.com/google.protobuf.Any", **(body or {})},
    }
    call.store.remember(f"{call.service.host}/{name}", operation)
    return operation


def of_compute(call: Call, verb: str, body: Body | None) -> Body:
    """compute#operation."""
    name = f"operation-{call.store.number()}"
    version = f"{call.service.host}/compute/v1"
    path = f"{call.parent}/operations/{name}"
    operation: Body = {
        "kind": "compute#operation",
        "id": call.store.number(),
        "name": name,
        "operationType": {"create": "insert", "update": "patch"}.get(verb, verb),
        "status": "DONE",
        "progress": 100,
        "targetLink": f"{SIMULATOR}/{version}/{call.name}",
        "insertTime": call.backend.now(),
        "selfLink": f"{SIMULATOR}/{version}/{path}",
    }
    call.store.remember(f"{call.service.host}/{path}", operation)
    return operation


def of_container(call: Call, verb: str, body: Body | None) -> Body:
    """google.container.v1.Operation."""
    name = f"operation-{call.store.number()}"
    path = f"{'/'.join(call.parent.split('/')[:4])}/operations/{name}"
    now = call.backend.now()
    kind = _GKE_TYPES[call.kind.leaf]
    operation: Body = {
        "name": name,
        "zone": call.location,
        "operationType": "UPDATE_CLUSTER" if verb == "update" else f"{verb.upper()}_{kind}",
        "status": "DONE",
        "selfLink": f"{SIMULATOR}/{call.service.host}/v1/{path}",
        "targetLink": f"{SIMULATOR}/{call.service.host}/v1/{call.name}",
        "startTime": now,
        "endTime": now,
    }
    call.store.remember(f"{call.service.host}/{path}", operation)
    return operation
