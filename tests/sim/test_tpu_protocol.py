"""What the simulated Cloud TPU API and its door refuse, byte for byte over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from launcher.sim import control, guard
from launcher.sim.http import json_answer
from tests.sim.tpu_fixtures import PARENT, ZONE, empty, request, simulator

NODE = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}
SPEC = {"parent": PARENT, "nodeId": "n", "node": NODE}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    with simulator(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture
def status(shared: control.Status) -> Iterator[control.Status]:
    yield shared
    empty(shared)


def queue(**spec: Any) -> dict[str, Any]:
    return {"tpu": {"nodeSpec": [{**SPEC, **spec}]}}


@pytest.mark.parametrize(
    "path, body, words",
    [
        ("queuedResources?queuedResourceId=q", {**queue(), "x": 1}, "Unknown name \"x\" at 'queued_resource'"),
        ("queuedResources?queuedResourceId=q", queue(node={**NODE, "x": 1}), "node_spec[0].node': Cannot find"),
        ("queuedResources?queuedResourceId=q", {**queue(), "spot": {}, "guaranteed": {}}, "oneof field 'tier'"),
        ("queuedResources?queuedResourceId=a/b", queue(), "Invalid queued resource id"),
        ("queuedResources?queuedResourceId=q", queue(nodeId="Upper"), "Invalid node id"),
        ("queuedResources?queuedResourceId=q", queue(parent=PARENT + "x"), "The parent of a node must be"),
        ("queuedResources?queuedResourceId=q", {"tpu": {"nodeSpec": []}}, "exactly one entry"),
        ("queuedResources?queuedResourceId=q", queue(nodeId=None), 'One of "nodeId" and "multisliceParams"'),
        (
            "queuedResources?queuedResourceId=q",
            queue(nodeId=None, multisliceParams={"nodeCount": 1}),
            "greater than 1",
        ),
        (
            "queuedResources?queuedResourceId=q",
            {**queue(node={**NODE, "schedulingConfig": {"spot": True}}), "spot": {}},
            '"schedulingConfig" of a node must not be set',
        ),
        ("nodes?nodeId=n", {**NODE, "acceleratorType": "v5p-8"}, f'"v5p-8" does not exist in location "{ZONE}"'),
        ("nodes?nodeId=n", {**NODE, "runtimeVersion": "new"}, '"runtimeVersion" value "new"'),
        ("nodes?nodeId=n", {"runtimeVersion": "v2-alpha-tpuv5-lite"}, "AcceleratorType"),
        ("nodes?nodeId=n", {**NODE, "labels": {"Upper": "x"}}, 'The label "Upper"'),
        ("nodes?nodeId=n", {**NODE, "metadata": {"k": "x" * 300_000}}, "262144 are allowed"),
        ("nodes?nodeId=-n", NODE, "Invalid node id"),
        ("nodes?nodeId=n&color=red", NODE, 'Unknown name "color": Cannot bind query parameter'),
        ("nodes?nodeId=n", "{", "Invalid JSON payload received"),
    ],
)
def test_bad_request_is_refused_as_invalid_argument(
    status: control.Status, path: str, body: object, words: str
) -> None:
    code, answer = request(status, "POST", path, body)
    assert (code, answer["error"]["code"], answer["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in answer["error"]["message"]


def test_nothing_is_left_of_a_refused_request(status: control.Status) -> None:
    request(status, "POST", "nodes?nodeId=n", {**NODE, "runtimeVersion": "new"})
    assert request(status, "GET", "nodes") == (200, {})
    assert request(status, "GET", "queuedResources") == (200, {})


@pytest.mark.parametrize(
    "path, code, name",
    [
        ("nodes/none", 404, "NOT_FOUND"),
        ("queuedResources/none", 404, "NOT_FOUND"),
        ("operations/none", 404, "NOT_FOUND"),
        ("/v2/projects/simulated-project/locations/mars-1/nodes", 403, "PERMISSION_DENIED"),
        ("/v2/projects/other/locations/us-west4-a/nodes", 403, "PERMISSION_DENIED"),
        ("nodes?pageToken=nonsense", 400, "INVALID_ARGUMENT"),
        ("nodes?pageSize=-1", 400, "INVALID_ARGUMENT"),
        ("/v3/projects", 404, "NOT_FOUND"),
    ],
)
def test_read_that_cannot_be_has_an_error_of_googles_shape(
    status: control.Status, path: str, code: int, name: str
) -> None:
    got, answer = request(status, "GET", path)
    assert (got, answer["error"]["code"], answer["error"]["status"]) == (code, code, name)
    assert answer["error"]["message"]


def test_terraform_providers_create_request_is_accepted(status: control.Status) -> None:
    body = {
        **NODE,
        "name": "vm-1",
        "labels": {"goog-terraform-provisioned": "true"},
        "networkConfig": {"canIpForward": False, "enableExternalIps": False, "network": "default"},
        "schedulingConfig": {"preemptible": False, "reserved": False, "spot": True},
    }
    code, operation = request(status, "POST", "nodes?alt=json&nodeId=vm-1", body)
    assert code == 200 and operation["done"] is False
    name = operation["name"].rsplit("/", 1)[-1]
    while not operation["done"]:
        _, operation = request(status, "GET", f"operations/{name}?alt=json")
    assert operation["response"]["@type"] == "type.googleapis.com/google.cloud.tpu.v2.Node"
    _, node = request(status, "GET", "nodes/vm-1?alt=json")
    for field in ("labels", "schedulingConfig", "networkConfig"):
        assert body[field].items() <= node[field].items()
    assert node["networkEndpoints"][0]["accessConfig"] == {}
    assert request(status, "DELETE", "nodes/vm-1?alt=json")[0] == 200


def test_external_addresses_are_shown_only_when_asked_for(status: control.Status) -> None:
    body = {**NODE, "networkConfig": {"enableExternalIps": True}}
    assert request(status, "POST", "nodes?nodeId=ext", body)[0] == 200
    _, node = request(status, "GET", "nodes/ext")
    endpoint = node["networkEndpoints"][0]
    assert endpoint["accessConfig"]["externalIp"] == endpoint["ipAddress"]


@pytest.mark.parametrize("mask", ["", "acceleratorType", "labels,state"])
def test_update_of_what_cannot_change_is_refused(status: control.Status, mask: str) -> None:
    request(status, "POST", "nodes?nodeId=upd", NODE)
    code, answer = request(status, "PATCH", f"nodes/upd?updateMask={mask}", {"labels": {}})
    assert code == 400 and "update mask" in answer["error"]["message"]


@pytest.mark.parametrize("path", ["nodes", "/_sim/status", "/storage/v1/b?project=simulated-project"])
def test_web_pages_are_refused_everywhere(status: control.Status, path: str) -> None:
    code, answer = request(status, "GET", path, Origin="https://example.com")
    assert code == 403 and "Origin" in answer["error"]["message"]


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "127.0.0.1:1", "metadata.google.internal"])
def test_foreign_host_names_are_refused(status: control.Status, host: str) -> None:
    code, answer = request(status, "GET", "nodes", Host=host)
    assert code == 403 and repr(host) in answer["error"]["message"]


def test_localhost_is_a_name_of_ours(status: control.Status) -> None:
    port = status["tpu"].rsplit(":", 1)[-1]
    assert request(status, "GET", "nodes", Host=f"localhost:{port}")[0] == 200


def connection() -> tuple[socket.socket, socket.socket, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    return listener, ours, theirs


def test_peer_of_the_same_user_is_recognised_and_one_that_is_not_there_is_not() -> None:
    listener, ours, theirs = connection()
    with listener, theirs:
        peer, local = ours.getsockname(), theirs.getsockname()
        assert guard.peer_is_same_user(peer, local)
        ours.close()
        assert not guard.peer_is_same_user((peer[0], 1), local)


def test_peer_of_another_user_is_refused(tmp_path: Path) -> None:
    # A line as Linux prints it for a client at 127.0.0.1:50000 of a server at 127.0.0.1:8080.
    line = "0: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 {user} 0 1 1 0 20 4 0 10 -1"
    tables = (tmp_path / "tcp", tmp_path / "tcp6")
    tables[0].write_text("heading\n" + line.format(user=os.getuid()))
    ends = (("127.0.0.1", 50000), ("127.0.0.1", 8080))
    assert guard.peer_is_same_user(*ends, tables)
    tables[0].write_text("heading\n" + line.format(user=os.getuid() + 1))
    assert not guard.peer_is_same_user(*ends, tables)


def test_refused_peer_gets_403_before_the_application_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await json_answer({})(scope, receive, send)

    allowed = threading.Event()
    monkeypatch.setattr(guard, "peer_is_same_user", lambda peer, local: allowed.is_set())
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(application, http=guard.GuardedProtocol, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        raw = socket.create_connection(listener.getsockname())
        with raw, raw.makefile("rb") as answer:
            raw.sendall(b"GET /refused HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.readline().startswith(b"HTTP/1.1 403")
        allowed.set()
        assert request({"tpu": address}, "GET", "/taken") == (200, {})
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
    assert asked == ["/taken"]


def test_modules_of_the_simulator_do_not_import_the_library() -> None:
    script = "import sys, launcher.sim.server, launcher.sim.control; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in modules if name.startswith("launcher.") and not name.startswith("launcher.sim")}
    # launcher itself names the errors that it exports.
    assert not {name for name in ours if not name.startswith("launcher.records")} - {"launcher.errors"}
    assert "asyncssh" not in modules  # it takes most of a second, and serving must not wait for it
