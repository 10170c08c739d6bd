"""Simulators as processes of their own, and clients for them that nobody here wrote."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from google.api_core.client_options import ClientOptions
from google.api_core.future.polling import DEFAULT_POLLING
from google.auth.credentials import AnonymousCredentials
from google.cloud import tpu_v2

from launcher.sim import control

T = TypeVar("T")

ZONE = "us-west4-a"
PARENT = f"projects/simulated-project/locations/{ZONE}"
TIMEOUT_S = 60.0


@contextlib.contextmanager
def simulator(folder: Path, **options: Any) -> Iterator[control.Status]:
    """A running simulator on `folder`; ended afterwards."""
    try:
        yield control.start(folder, **options).status
    finally:
        control.stop(folder)


@contextlib.contextmanager
def tpu_client(status: control.Status) -> Iterator[tpu_v2.TpuClient]:
    """Google's own client, over REST."""
    options = ClientOptions(api_endpoint=status["tpu"])
    with tpu_v2.TpuClient(transport="rest", client_options=options, credentials=AnonymousCredentials()) as client:
        yield client


def node(accelerator: str = "v5litepod-1", **fields: Any) -> dict[str, Any]:
    """A node as tpu_v2 takes it."""
    return {"accelerator_type": accelerator, "runtime_version": "v2-alpha-tpuv5-lite", **fields}


def queued(node_id: str, accelerator: str = "v5litepod-1", **fields: Any) -> tpu_v2.QueuedResource:
    """A queued resource of one node."""
    spec = {"parent": PARENT, "node_id": node_id, "node": node(accelerator)}
    return tpu_v2.QueuedResource(tpu={"node_spec": [spec]}, **fields)


def result(operation: Any) -> Any:
    """What a long-running operation comes to, looked at often: its own default is once a second."""
    return operation.result(timeout=TIMEOUT_S, polling=DEFAULT_POLLING.with_delay(0.01, 0.05))


def until(look: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """Look again and again until what is seen is `wanted`; return it."""
    deadline = time.monotonic() + TIMEOUT_S
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {TIMEOUT_S} s"
    return seen


def queued_state(client: tpu_v2.TpuClient, resource_id: str) -> str:
    """The state of a queued resource."""
    found = client.get_queued_resource(name=f"{PARENT}/queuedResources/{resource_id}")
    return str(found.state.state.name)


def make_active(client: tpu_v2.TpuClient, name: str, accelerator: str = "v5litepod-1", **fields: Any) -> str:
    """Create a queued resource and its node, both called `name`; return the node's full name when ACTIVE."""
    client.create_queued_resource(
        parent=PARENT, queued_resource_id=name, queued_resource=queued(name, accelerator, **fields)
    )
    until(lambda: queued_state(client, name), lambda state: state == "ACTIVE")
    return f"{PARENT}/nodes/{name}"


def request(status: control.Status, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """One plain HTTP request; `path` is below the location unless it starts with a slash."""
    connection = http.client.HTTPConnection(status["tpu"].removeprefix("http://"), timeout=TIMEOUT_S)
    try:
        content = body if isinstance(body, str) or body is None else json.dumps(body)
        full = path if path.startswith("/") else f"/v2/{PARENT}/{path}"
        connection.request(method, full, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def empty(status: control.Status) -> None:
    """Delete every queued resource and node in ZONE and wait until they are gone."""

    def left() -> list[str]:
        names = []
        for kind, force in (("queuedResources", "?force=true"), ("nodes", "")):
            for each in request(status, "GET", kind)[1].get(kind, []):
                names.append(each["name"])
                request(status, "DELETE", f"/v2/{each['name']}{force}")  # refused while one is under way
        return names

    until(left, lambda names: not names)
