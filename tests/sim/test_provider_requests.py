"""Each request of Google's Terraform provider for nodes, queued resources, buckets and objects, as it sends it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.sim import control
from tests.sim.tpu_fixtures import TIMEOUT_S, empty, request, simulator, until

ZONE = "/v2/projects/simulated-project/locations/us-west4-a"
NODE = {
    "acceleratorType": "v5litepod-1",
    "labels": {"goog-terraform-provisioned": "true", "team": "a"},
    "metadata": {"enable-guest-attributes": "TRUE"},
    "name": "vm-1",
    "networkConfig": {"canIpForward": False, "enableExternalIps": False, "network": "default"},
    "runtimeVersion": "v2-alpha-tpuv5-lite",
    "schedulingConfig": {"preemptible": False, "reserved": False, "spot": True},
}
PLAIN = {"acceleratorType": "v5litepod-1", "description": "standing", "runtimeVersion": "v2-alpha-tpuv5-lite"}
BUCKET = {
    "iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": True}},
    "labels": {"goog-terraform-provisioned": "true"},
    "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["staging/"]}}]},
    "location": "us-central1",
    "name": "terraform-made",
    "softDeletePolicy": {"retentionDurationSeconds": "604800"},
    "storageClass": "STANDARD",
    "versioning": {"enabled": False},
}
BUCKETS = "/storage/v1/b?alt=json&prettyPrint=false&project=simulated-project"
MADE = "/storage/v1/b/terraform-made"
READ = "?alt=json&prettyPrint=false"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    with simulator(tmp_path_factory.mktemp("requests") / "sim") as running:
        yield running


@pytest.fixture(params=["", "/tpu.googleapis.com"], ids=["root", "host"])
def zone(request: pytest.FixtureRequest, shared: control.Status) -> Iterator[str]:
    """The path of a zone, with no node in it; as Terraform's endpoint setting makes it in either way."""
    yield f"{request.param}{ZONE}"
    empty(shared)


@pytest.fixture
def bucket(shared: control.Status) -> Iterator[dict[str, Any]]:
    status, made = request(shared, "POST", BUCKETS, BUCKET)
    assert status == 200
    yield made
    for each in request(shared, "GET", f"{MADE}/o")[1].get("items", []):
        delete(shared, f"{MADE}/o/{each['name']}")
    delete(shared, MADE)


def delete(shared: control.Status, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(shared["tpu"].removeprefix("http://"), timeout=TIMEOUT_S)
    try:
        connection.request("DELETE", path + READ)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def done(shared: control.Status, zone: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation as a poll shows it when it is over."""
    path = f"{zone}/operations/{operation['name'].rpartition('/')[2]}?alt=json"
    status, answer = until(lambda: request(shared, "GET", path), lambda seen: bool(seen[1]["done"]))
    assert status == 200
    return dict(answer)


def make_node(shared: control.Status, zone: str) -> dict[str, Any]:
    status, operation = request(shared, "POST", f"{zone}/nodes?alt=json&nodeId=vm-1", NODE)
    assert status == 200 and operation["done"] is False
    return done(shared, zone, operation)


def make_queued(shared: control.Status, zone: str) -> dict[str, Any]:
    spec = {"node": PLAIN, "nodeId": "qr-1-0", "parent": "projects/simulated-project/locations/us-west4-a"}
    body = {"name": "qr-1", "tpu": {"nodeSpec": [spec]}}  # the short name, not the full one
    status, operation = request(shared, "POST", f"{zone}/queuedResources?alt=json&queuedResourceId=qr-1", body)
    assert status == 200
    return done(shared, zone, operation)


def active(shared: control.Status, zone: str) -> dict[str, Any]:
    make_queued(shared, zone)
    path = f"{zone}/queuedResources/qr-1?alt=json"
    return dict(until(lambda: request(shared, "GET", path)[1], lambda seen: seen["state"]["state"] == "ACTIVE"))


def test_node_create_is_an_operation_that_ends_with_the_whole_node(shared: control.Status, zone: str) -> None:
    operation = make_node(shared, zone)
    node = operation["response"]
    assert node.pop("@type") == "type.googleapis.com/google.cloud.tpu.v2.Node"
    assert node["name"] == f"{ZONE.removeprefix('/v2/')}/nodes/vm-1" and node["state"] == "READY"
    assert request(shared, "GET", f"{zone}/nodes/vm-1?alt=json") == (200, node)


def test_node_read_has_what_an_empty_plan_needs(shared: control.Status, zone: str) -> None:
    make_node(shared, zone)
    node = request(shared, "GET", f"{zone}/nodes/vm-1?alt=json")[1]
    for field in ("acceleratorType", "labels", "metadata", "runtimeVersion", "schedulingConfig"):
        assert node[field] == NODE[field]
    assert node["networkConfig"]["network"].endswith("default") and node["networkConfig"]["canIpForward"] is False
    assert node["acceleratorConfig"] == {"type": "V5LITE_POD", "topology": "1x1"}
    assert node["cidrBlock"] and node["networkEndpoints"][0]["port"] == 8470
    assert node["health"] == "HEALTHY" and node["apiVersion"] == "V2" and node["id"].isdecimal()


def test_node_delete_is_an_operation_and_then_the_node_is_gone(shared: control.Status, zone: str) -> None:
    make_node(shared, zone)
    status, operation = request(shared, "DELETE", f"{zone}/nodes/vm-1?alt=json")
    assert status == 200 and operation["done"] is False
    assert done(shared, zone, operation)["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert request(shared, "GET", f"{zone}/nodes/vm-1?alt=json")[0] == 404


@pytest.mark.parametrize("kind", ["nodes", "queuedResources"])
def test_what_is_not_there_is_told_in_googles_form(shared: control.Status, zone: str, kind: str) -> None:
    name = f"{ZONE.removeprefix('/v2/')}/{kind}/never"
    for method in ("GET", "DELETE"):
        status, answer = request(shared, method, f"{zone}/{kind}/never?alt=json")
        error = answer["error"]
        assert (status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
        assert error["message"] == f"Resource '{name}' was not found"


def test_queued_resource_create_takes_its_short_name(shared: control.Status, zone: str) -> None:
    queued = make_queued(shared, zone)["response"]
    assert queued.pop("@type") == "type.googleapis.com/google.cloud.tpu.v2.QueuedResource"
    assert queued["name"] == f"{ZONE.removeprefix('/v2/')}/queuedResources/qr-1"
    spec = request(shared, "GET", f"{zone}/queuedResources/qr-1?alt=json")[1]["tpu"]["nodeSpec"][0]
    assert spec["node"] == PLAIN and spec["nodeId"] == "qr-1-0"


def test_queued_resource_that_is_active_is_not_deleted_without_force(shared: control.Status, zone: str) -> None:
    active(shared, zone)
    status, answer = request(shared, "DELETE", f"{zone}/queuedResources/qr-1?alt=json")
    assert (status, answer["error"]["code"], answer["error"]["status"]) == (400, 400, "FAILED_PRECONDITION")
    assert request(shared, "GET", f"{zone}/queuedResources/qr-1?alt=json")[1]["state"]["state"] == "ACTIVE"
    assert request(shared, "GET", f"{zone}/nodes/qr-1-0?alt=json")[1]["state"] == "READY"


def test_queued_resource_can_be_deleted_when_its_node_went_first(shared: control.Status, zone: str) -> None:
    active(shared, zone)
    done(shared, zone, request(shared, "DELETE", f"{zone}/nodes/qr-1-0?alt=json")[1])
    path = f"{zone}/queuedResources/qr-1?alt=json"
    until(lambda: request(shared, "GET", path)[1], lambda seen: seen["state"]["state"] != "ACTIVE")
    status, operation = until(lambda: request(shared, "DELETE", path), lambda seen: seen[0] != 400)
    assert status == 200
    done(shared, zone, operation)
    assert request(shared, "GET", path)[0] == 404


def test_bucket_create_answers_as_it_is_read_twice_afterwards(shared: control.Status, bucket: dict[str, Any]) -> None:
    assert bucket["location"] == "US-CENTRAL1" and bucket["locationType"] == "region"
    for field in ("iamConfiguration", "labels", "lifecycle", "softDeletePolicy", "storageClass", "versioning"):
        assert bucket[field] == BUCKET[field]
    assert bucket["projectNumber"] == "123456789" and bucket["metageneration"] == "1"
    for _ in range(2):
        assert request(shared, "GET", MADE + READ) == (200, bucket)


def test_bucket_create_of_an_existing_one_is_a_conflict(shared: control.Status, bucket: dict[str, Any]) -> None:
    assert bucket["name"] == BUCKET["name"]
    status, answer = request(shared, "POST", BUCKETS, BUCKET)
    assert status == 409 and answer["error"]["errors"][0]["reason"] == "conflict"


def test_bucket_change_is_a_patch(shared: control.Status, bucket: dict[str, Any]) -> None:
    change = {"labels": {"goog-terraform-provisioned": None, "team": "a"}, "lifecycle": {"rule": []}}
    status, changed = request(shared, "PATCH", MADE + READ, change)
    assert status == 200 and changed["labels"] == {"team": "a"} and changed["lifecycle"] == {"rule": []}
    assert changed["softDeletePolicy"] == bucket["softDeletePolicy"] and changed["metageneration"] == "2"


def upload(shared: control.Status, name: str, data: bytes) -> dict[str, Any]:
    """As the provider does it: the name is in the query only, the JSON part has the bucket's."""
    parts = (
        b'--cut\r\nContent-Type: application/json\r\n\r\n{"bucket":"terraform-made"}\n\r\n'
        b"--cut\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + data + b"\r\n--cut--\r\n"
    )
    path = f"/upload{MADE}/o?alt=json&name={name}&prettyPrint=false&uploadType=multipart"
    connection = http.client.HTTPConnection(shared["tpu"].removeprefix("http://"), timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body=parts, headers={"Content-Type": "multipart/related; boundary=cut"})
        answer = connection.getresponse()
        assert answer.status == 200
        return dict(json.loads(answer.read()))
    finally:
        connection.close()


def test_object_create_has_what_an_empty_plan_needs(shared: control.Status, bucket: dict[str, Any]) -> None:
    made = upload(shared, "platform.json", b'{"schema": 1}')
    assert made["bucket"] == bucket["name"] and made["name"] == "platform.json"
    assert made["md5Hash"] == base64.b64encode(hashlib.md5(b'{"schema": 1}', usedforsecurity=False).digest()).decode()
    assert made["contentType"] == "text/plain; charset=utf-8" and made["storageClass"] == "STANDARD"
    assert made["crc32c"] and made["generation"].isdecimal()
    assert made["selfLink"] == f"{shared['tpu']}{MADE}/o/platform.json" and made["mediaLink"].startswith(shared["tpu"])
    assert request(shared, "GET", f"{MADE}/o/platform.json{READ}") == (200, made)


def test_object_delete_has_no_answer_but_its_status(shared: control.Status, bucket: dict[str, Any]) -> None:
    upload(shared, "platform.json", b"{}")
    assert delete(shared, f"{MADE}/o/platform.json") == (204, b"")
    status, answer = request(shared, "GET", f"/storage/v1/b/{bucket['name']}/o/platform.json{READ}")
    assert status == 404 and answer["error"]["errors"][0]["reason"] == "notFound"


def test_bucket_destroy_goes_step_by_step(shared: control.Status) -> None:
    assert request(shared, "POST", BUCKETS, BUCKET)[0] == 200
    upload(shared, "platform.json", b"{}")
    # With no list of caches, even an empty one, the provider would leave the objects and fail to delete the bucket.
    assert request(shared, "GET", f"{MADE}/anywhereCaches/?alt=json") == (200, {"kind": "storage#anywhereCaches"})
    status, answer = request(shared, "GET", f"{MADE}/o?alt=json&prettyPrint=false&versions=true")
    assert status == 200 and [each["name"] for each in answer["items"]] == ["platform.json"]
    conflict, body = delete(shared, MADE)
    assert conflict == 409 and json.loads(body)["error"]["message"] == "The bucket you tried to delete is not empty."
    assert delete(shared, f"{MADE}/o/platform.json") == (204, b"")
    assert request(shared, "GET", f"{MADE}/o?alt=json&prettyPrint=false&versions=true") == (
        200,
        {"kind": "storage#objects"},
    )
    assert delete(shared, MADE) == (204, b"")
    assert request(shared, "GET", MADE + READ)[0] == 404
    assert request(shared, "GET", f"{MADE}/anywhereCaches/?alt=json")[0] == 404
