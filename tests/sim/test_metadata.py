"""The metadata server of a simulated worker, seen by google-auth and by plain HTTP clients."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.sim.metadata import MAX_ATTRIBUTE_BYTES
from launcher.sim.workers import Worker
from tests.sim.worker_fixtures import TIMEOUT_S, Machines, machines, wait_until, with_metadata

FLAVOR = {"Metadata-Flavor": "Google"}
INSTANCE = "/computeMetadata/v1/instance/"
PROJECT = "/computeMetadata/v1/project/"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("machines")) as made:
        yield made


@pytest.fixture(scope="module")
def worker(room: Machines) -> Worker:
    return room.boot(room.spec("tpu-a", workers=2, worker=1, some_key="a-value", project_id="mine"))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    room: Machines,
    worker: Worker,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] = FLAVOR,
) -> Answer:
    connection = http.client.HTTPConnection(worker.spec.address, room.metadata_port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path, expected",
    [
        (f"{INSTANCE}attributes/some-key", "a-value"),
        (f"{INSTANCE}attributes/agent-worker-number", "1"),
        (f"{INSTANCE}attributes/accelerator-type", "v5litepod-4"),
        (f"{INSTANCE}zone", "projects/{number}/zones/us-west4-a"),
        (f"{INSTANCE}preempted", "FALSE"),
        (f"{INSTANCE}maintenance-event", "NONE"),
        (f"{INSTANCE}network-interfaces/0/ip", "{address}"),
        (f"{INSTANCE}network-interfaces/0/access-configs/0/external-ip", "{address}"),
        (f"{INSTANCE}service-accounts/default/scopes", "https://www.googleapis.com/auth/cloud-platform\n"),
        (f"{PROJECT}project-id", "simulated-project"),
        (f"{PROJECT}numeric-project-id", "{number}"),
        (INSTANCE + "network-interfaces/", "0/\n"),
        ("/computeMetadata/v1/", "instance/\nproject/\n"),
    ],
)
def test_paths(room: Machines, worker: Worker, path: str, expected: str) -> None:
    answer = ask(room, worker, path)
    number = ask(room, worker, f"{PROJECT}numeric-project-id").text
    assert (answer.status, answer.text) == (200, expected.format(number=number, address=worker.spec.address))
    assert answer.headers["metadata-flavor"] == "Google"


def test_names_of_the_instance_agree(room: Machines, worker: Worker) -> None:
    name = ask(room, worker, f"{INSTANCE}name").text
    assert name == worker.guest_attributes["hostname"]["hostname"]
    assert ask(room, worker, f"{INSTANCE}hostname").text == f"{name}.us-west4-a.c.simulated-project.internal"
    assert int(ask(room, worker, f"{INSTANCE}id").text) > 0


def test_jax_finds_its_slice(room: Machines, worker: Worker) -> None:
    """The way jax.distributed reads these (jax 0.10)."""
    endpoints = ask(room, worker, f"{INSTANCE}attributes/worker-network-endpoints").text
    assert [endpoint.split(":")[2] for endpoint in endpoints.split(",")] == list(worker.spec.peers)
    lines = ask(room, worker, f"{INSTANCE}attributes/tpu-env").text.splitlines()
    environment = dict(line.split(": ", 1) for line in lines)
    assert environment["ACCELERATOR_TYPE"] == "'v5litepod-4'"
    assert environment["WORKER_ID"] == "'1'"
    assert environment["NODE_ID"] == "'tpu-a'"


def test_directories_list_and_recurse(room: Machines, worker: Worker) -> None:
    listed = ask(room, worker, f"{INSTANCE}").text.splitlines()
    assert {"attributes/", "name", "service-accounts/", "network-interfaces/", "preempted"} <= set(listed)
    everything = ask(room, worker, f"{INSTANCE}?recursive=true")
    assert everything.headers["content-type"] == "application/json"
    tree = json.loads(everything.body)
    assert tree["networkInterfaces"][0]["accessConfigs"][0]["externalIp"] == worker.spec.address
    assert tree["maintenanceEvent"] == "NONE"
    assert tree["attributes"]["some-key"] == "a-value"
    assert tree["attributes"]["project-id"] == "mine"  # users' names are not spelled anew
    attributes = json.loads(ask(room, worker, f"{INSTANCE}attributes/?recursive=true").body)
    assert attributes == tree["attributes"]
    assert ask(room, worker, f"{INSTANCE}attributes/some-key?alt=json").text == '"a-value"'


@pytest.mark.parametrize(
    "path",
    [
        f"{INSTANCE}attributes/absent",
        f"{INSTANCE}nothing",
        "/elsewhere",
        f"{INSTANCE}network-interfaces/7/ip",
        f"{INSTANCE}service-accounts/other/token",
        f"{INSTANCE}name/deeper",
        "/computeMetadata/v1beta1/instance",
    ],
)
def test_unknown_paths(room: Machines, worker: Worker, path: str) -> None:
    assert ask(room, worker, path).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Metadata-Flavor": "google"},
        {**FLAVOR, "X-Forwarded-For": "10.0.0.1"},
        {**FLAVOR, "Origin": "http://evil.invalid"},
        {**FLAVOR, "Host": "evil.invalid"},
    ],
)
def test_refused_headers(room: Machines, worker: Worker, headers: dict[str, str]) -> None:
    answer = ask(room, worker, f"{INSTANCE}service-accounts/default/token", headers=headers)
    assert answer.status == 403
    assert b"access_token" not in answer.body


def test_a_foreign_peer_is_refused(room: Machines, worker: Worker) -> None:
    seen: list[tuple[tuple[str, int], tuple[str, int]]] = []

    def refuse(peer: tuple[str, int], local: tuple[str, int]) -> bool:
        seen.append((peer, local))
        return False

    before = room.allowed
    room.allowed = refuse
    try:
        assert ask(room, worker, f"{INSTANCE}name").status == 403
    finally:
        room.allowed = before
    assert seen[0][1] == (worker.spec.address, room.metadata_port)


def test_the_usual_names_of_the_server_are_answered(room: Machines, worker: Worker) -> None:
    for host in ("metadata.google.internal", f"{worker.spec.address}:{room.metadata_port}"):
        assert ask(room, worker, f"{INSTANCE}name", headers={**FLAVOR, "Host": host}).status == 200


def test_token(room: Machines, worker: Worker) -> None:
    path = f"{INSTANCE}service-accounts/default/token"
    token = json.loads(ask(room, worker, path).body)
    assert set(token) == {"access_token", "expires_in", "token_type"}
    assert (token["token_type"], token["expires_in"] > 0) == ("Bearer", True)
    email = ask(room, worker, f"{INSTANCE}service-accounts/default/email").text
    assert ask(room, worker, f"{INSTANCE}service-accounts/{email}/token").status == 200


def test_google_auth_takes_its_credentials_here(room: Machines, worker: Worker) -> None:
    """In a process of its own: google-auth reads the address when it is imported."""
    code = (
        "import google.auth, google.auth.transport.requests as t\n"
        "c, project = google.auth.default(scopes=['https://www.googleapis.com/auth/devstorage.read_write'])\n"
        "c.refresh(t.Request())\n"
        "print(type(c).__module__, project, c.service_account_email, bool(c.token), c.valid)\n"
    )
    address = f"{worker.spec.address}:{room.metadata_port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOOGLE_")}
    environment |= dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"), address)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    email = ask(room, worker, f"{INSTANCE}service-accounts/default/email").text
    assert done.stdout.split() == [
        "google.auth.compute_engine.credentials",
        "simulated-project",
        email,
        "True",
        "True",
    ], done.stderr


def test_the_guest_writes_guest_attributes(room: Machines, tmp_path: Path) -> None:
    worker = room.boot(room.spec("writer", workers=3, worker=2))
    path = f"{INSTANCE}guest-attributes/launcher/state"
    assert ask(room, worker, path).status == 404
    assert ask(room, worker, path, "PUT", "grüezi".encode()).status == 200
    assert ask(room, worker, path).text == "grüezi"
    assert worker.guest_attributes["launcher"] == {"state": "grüezi"}
    assert json.loads(ask(room, worker, f"{INSTANCE}guest-attributes/?recursive=true").body)["launcher"]
    room.run(worker.stop())
    again = room.boot(worker.spec, first=False)
    assert again.guest_attributes["launcher"] == {"state": "grüezi"}
    assert ask(room, again, path, "DELETE").status == 200
    assert ask(room, again, path).status == 404
    assert "launcher" not in again.guest_attributes
    room.run(room.host.delete(again.spec))


@pytest.mark.parametrize(
    "path, method, size, status",
    [
        (f"{INSTANCE}guest-attributes/only-a-namespace", "PUT", 1, 400),
        (f"{INSTANCE}guest-attributes/a/b/c", "PUT", 1, 400),
        (f"{INSTANCE}guest-attributes/a/b", "PUT", MAX_ATTRIBUTE_BYTES + 1, 413),
        (f"{INSTANCE}attributes/some-key", "PUT", 1, 405),
        (f"{INSTANCE}name", "POST", 1, 405),
    ],
)
def test_refused_writes(room: Machines, worker: Worker, path: str, method: str, size: int, status: int) -> None:
    before = json.dumps(worker.guest_attributes)
    assert ask(room, worker, path, method, bytes(size)).status == status
    assert json.dumps(worker.guest_attributes) == before


def test_new_metadata_is_seen_at_once(room: Machines) -> None:
    spec = room.spec("patched", workers=4, worker=3)
    worker = room.boot(spec)
    room.call(worker.update_metadata, dict(with_metadata(spec, late="news").metadata))
    assert ask(room, worker, f"{INSTANCE}attributes/late").text == "news"
    room.run(room.host.delete(worker.spec))


def test_waiting_for_a_change(room: Machines) -> None:
    spec = room.spec("waited-for", workers=5, worker=4, value="old", other="x")
    worker = room.boot(spec)
    path = f"{INSTANCE}attributes/value"
    etag = ask(room, worker, path).headers["etag"]
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(ask(room, worker, f"{path}?wait_for_change=true&last_etag={etag}"))
    )
    waiting.start()
    wait_until(lambda: len(worker._metadata_server._state.tasks) == 1, "the request")
    room.call(worker.update_metadata, {**spec.metadata, "other": "changed"})  # no news for this one
    room.call(worker.update_metadata, {**spec.metadata, "value": "new"})
    waiting.join(TIMEOUT_S)
    assert [answer.text for answer in answers] == ["new"]
    # What has changed already is not waited for; without any change the time limit ends it.
    assert ask(room, worker, f"{path}?wait_for_change=true&last_etag={etag}").text == "new"
    assert ask(room, worker, f"{path}?wait_for_change=true&timeout_sec=0").text == "new"
    room.run(room.host.delete(worker.spec))


def test_preemption_is_told_before_the_end(room: Machines) -> None:
    worker = room.boot(room.spec("preempted", workers=6, worker=5))
    assert ask(room, worker, f"{INSTANCE}preempted").text == "FALSE"
    room.run(worker.preempt())
    assert room.call(worker._metadata.find, "instance/preempted") == "TRUE"
    with pytest.raises(ConnectionRefusedError):
        ask(room, worker, f"{INSTANCE}preempted")
    room.run(room.host.delete(worker.spec))


def test_stopping_ends_waiting_requests(room: Machines) -> None:
    worker = room.boot(room.spec("stopped", workers=7, worker=6))
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(room, worker, f"{INSTANCE}preempted?wait_for_change=true")
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: len(worker._metadata_server._state.tasks) == 1, "the request")
    room.run(worker.stop())
    assert ended.wait(TIMEOUT_S)
    waiting.join()
