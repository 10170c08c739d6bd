"""Resources that act send what Google's provider was seen to send."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.leftovers import wait_until
from tests.terraform.harness import simulator_env
from tests.terraform.standin.cloud import Cloud, CloudError, Json
from tests.terraform.standin.schema import load_schema
from tests.terraform.standin.storage import Bucket, BucketObject
from tests.terraform.standin.tpu import QueuedResource, Vm
from tests.terraform.standin.values import UNKNOWN, Object, no_value

LABELS = {"goog-terraform-provisioned": "true", "team": "red"}
ZONE = "us-central1-a"


class Recorder(Cloud):
    """Notes (method, path and query, body) of what is sent, without the project, and without what is drawn by lot."""

    def __init__(self, endpoint: str, project: str) -> None:
        super().__init__(endpoint, "any")
        self.project = project
        self.sent: list[tuple[str, str, Any]] = []

    def send(self, method: str, url: str, content: bytes | None, content_type: str, query: dict[str, str]) -> Json:
        path = urllib.parse.urlsplit(url).path + "?" + urllib.parse.urlencode({"alt": "json", **query})
        path = re.sub(r"operations/[^?]+", "operations/ID", path).replace(self.project, "P")
        text = (content or b"").decode()
        body = json.loads(text) if content_type == "application/json" and text else text or None
        if ("GET", path, None) not in self.sent[-1:] or method != "GET":  # an operation is polled until it is done
            self.sent.append((method, path, json.loads(json.dumps(body).replace(self.project, "P"))))
        return super().send(method, url, content, content_type, query)

    def taken(self) -> list[tuple[str, str, Any]]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def env(simulator: dict[str, str]) -> dict[str, str]:
    return simulator_env(simulator)


@pytest.fixture
def tpu(env: dict[str, str]) -> Recorder:
    return Recorder(env["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"], env["GOOGLE_PROJECT"])


@pytest.fixture
def storage(env: dict[str, str]) -> Recorder:
    return Recorder(env["GOOGLE_STORAGE_CUSTOM_ENDPOINT"], env["GOOGLE_PROJECT"])


def planned(provider: str, type_name: str, **arguments: Any) -> Object:
    """As a plan has a new resource: what Google fills in is unknown."""
    block = load_schema(provider)["resource_schemas"][type_name]["block"]
    computed = {name: UNKNOWN for name, each in block["attributes"].items() if each.get("computed")}
    return {**no_value(block), **computed, **arguments}


def test_requests_of_a_vm(tpu: Recorder) -> None:
    vm = Vm(tpu)
    plan = planned(
        "google-beta",
        "google_tpu_v2_vm",
        project=tpu.project,
        zone=ZONE,
        name="vm-1",
        runtime_version="v2-alpha-tpuv5-lite",
        accelerator_type="v5litepod-1",
        labels={"team": "red"},
        effective_labels=LABELS,
        metadata={"enable-guest-attributes": "TRUE"},
        network_config=[{"network": "default", "subnetwork": UNKNOWN}],
        scheduling_config=[{"spot": True}],
    )
    state = vm.create(plan)
    nodes = f"/v2/projects/P/locations/{ZONE}/nodes"
    read = ("GET", f"{nodes}/vm-1?alt=json", None)
    poll = ("GET", f"/v2/projects/P/locations/{ZONE}/operations/ID?alt=json", None)
    sent = {
        "acceleratorType": "v5litepod-1",
        "labels": LABELS,
        "metadata": {"enable-guest-attributes": "TRUE"},
        "name": "vm-1",
        "networkConfig": {"canIpForward": False, "enableExternalIps": False, "network": "default"},
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "schedulingConfig": {"preemptible": False, "reserved": False, "spot": True},
    }
    assert tpu.taken() == [("POST", f"{nodes}?alt=json&nodeId=vm-1", sent), poll, read]
    assert (state["state"], state["health"], state["labels"]) == ("READY", "HEALTHY", {"team": "red"})
    assert state["cidr_block"] and state["network_endpoints"][0]["ip_address"]

    changed = {**state, "description": "x", "effective_labels": {"team": "blue"}, "labels": {"team": "blue"}}
    vm.update(state, changed)
    body = {"description": "x", "labels": {"team": "blue"}, "metadata": {"enable-guest-attributes": "TRUE"}}
    mask = "updateMask=description%2Clabels"
    assert tpu.taken() == [("PATCH", f"{nodes}/vm-1?alt=json&{mask}", body), poll, read]

    vm.delete(state)
    assert tpu.taken() == [("DELETE", f"{nodes}/vm-1?alt=json", None), poll]
    assert vm.read(state) is None
    vm.delete(state)  # what is gone already


def test_requests_of_a_queued_resource(tpu: Recorder) -> None:
    queued = QueuedResource(tpu)
    node = {
        "accelerator_type": "v5litepod-1",
        "description": "standing",
        "runtime_version": "v2-alpha-tpuv5-lite",
        "network_config": UNKNOWN,
    }
    parent = f"projects/{tpu.project}/locations/{ZONE}"
    state = queued.create(
        planned(
            "google-beta",
            "google_tpu_v2_queued_resource",
            project=tpu.project,
            zone=ZONE,
            name="qr-1",
            tpu=[{"node_spec": [{"node_id": "qr-1", "parent": parent, "node": [node]}]}],
        )
    )
    path = f"/v2/projects/P/locations/{ZONE}/queuedResources"
    poll = ("GET", f"/v2/projects/P/locations/{ZONE}/operations/ID?alt=json", None)
    spec = {
        "node": {
            "acceleratorType": "v5litepod-1",
            "description": "standing",
            "runtimeVersion": "v2-alpha-tpuv5-lite",
        },
        "nodeId": "qr-1",
        "parent": f"projects/P/locations/{ZONE}",
    }
    body = {"name": "qr-1", "tpu": {"nodeSpec": [spec]}}
    read = ("GET", f"{path}/qr-1?alt=json", None)
    assert tpu.taken() == [("POST", f"{path}?alt=json&queuedResourceId=qr-1", body), poll, read]
    assert wait_until(lambda: tpu.call("GET", f"{parent}/queuedResources/qr-1")["state"]["state"] == "ACTIVE")
    tpu.taken()
    with pytest.raises(CloudError, match="Error when reading or editing QueuedResource: googleapi: Error 400: "):
        queued.delete(state)
    assert tpu.taken() == [("DELETE", f"{path}/qr-1?alt=json", None)]  # no force
    tpu.wait(tpu.call("DELETE", f"{parent}/queuedResources/qr-1", force="true"), "deleting")


def bucket_plan(project: str, **arguments: Any) -> Object:
    rule = {
        "action": [{"type": "Delete", "storage_class": None}],
        "condition": [{"age": 30, "matches_prefix": ["staging/"], "with_state": UNKNOWN}],
    }
    said = {
        "project": project,
        "name": f"{project}-x",
        "location": "US-CENTRAL1",
        "storage_class": "STANDARD",
        "labels": {"team": "red"},
        "effective_labels": LABELS,
        "lifecycle_rule": [rule],
        "public_access_prevention": "enforced",
        "uniform_bucket_level_access": True,
        "soft_delete_policy": [{"retention_duration_seconds": 604800, "effective_time": UNKNOWN}],
        "versioning": [{"enabled": False}],
        "force_destroy": True,
        **arguments,
    }
    return planned("google", "google_storage_bucket", **said)


BUCKET = "/storage/v1/b/P-x"


def test_requests_of_a_bucket(storage: Recorder) -> None:
    bucket = Bucket(storage)
    state = bucket.create(bucket_plan(storage.project))
    read = ("GET", f"{BUCKET}?alt=json&prettyPrint=false", None)
    body = {
        "iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": True}},
        "labels": LABELS,
        "lifecycle": {
            "rule": [{"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["staging/"]}}]
        },
        "location": "us-central1",
        "name": "P-x",
        "softDeletePolicy": {"retentionDurationSeconds": "604800"},
        "storageClass": "STANDARD",
        "versioning": {"enabled": False},
    }
    assert storage.taken() == [("POST", "/storage/v1/b?alt=json&prettyPrint=false&project=P", body), read]
    assert (state["location"], state["url"]) == ("US-CENTRAL1", f"gs://{storage.project}-x")

    bucket.update(state, {**state, "lifecycle_rule": [], "effective_labels": {"team": "blue"}})
    body = {"labels": {"team": "blue", "goog-terraform-provisioned": None}, "lifecycle": None}
    assert storage.taken() == [("PATCH", f"{BUCKET}?alt=json&prettyPrint=false", body), read]

    storage.send("POST", storage.endpoint.replace("/storage/", "/upload/storage/") + f"b/{storage.project}-x/o", b"x",
                 "text/plain", {"name": "other", "uploadType": "media"})  # fmt: skip
    storage.taken()
    bucket.delete(state)
    kinds = [(method, re.sub(r"generation=\d+&", "", path)) for method, path, _ in storage.taken()]
    listing = ("GET", f"{BUCKET}/o?alt=json&prettyPrint=false&versions=true")
    assert kinds == [
        ("GET", f"{BUCKET}/anywhereCaches/?alt=json"),
        listing,
        ("DELETE", f"{BUCKET}/o/other?alt=json&prettyPrint=false"),
        listing,
        ("DELETE", f"{BUCKET}?alt=json&prettyPrint=false"),
    ]
    assert bucket.read(state) is None


def test_requests_of_an_object(storage: Recorder, tmp_path: Path) -> None:
    bucket = Bucket(storage)
    made = bucket.create(bucket_plan(storage.project))
    storage.taken()
    written = BucketObject(storage, tmp_path)
    plan = planned(
        "google",
        "google_storage_bucket_object",
        bucket=f"{storage.project}-x",
        name="platform.json",
        content="{}",
        detect_md5hash="different hash",
    )
    state = written.create(plan)
    (method, path, body), read = storage.taken()
    query = "alt=json&name=platform.json&prettyPrint=false&uploadType=multipart"
    assert (method, path) == ("POST", f"/upload{BUCKET}/o?{query}")
    parts = re.findall(r"^Content-Type: (.*)\r\n\r\n(.*?)\s*^--", body, re.MULTILINE)
    assert parts == [("application/json", '{"bucket": "P-x"}'), ("text/plain; charset=utf-8", "{}")]
    assert read == ("GET", f"{BUCKET}/o/platform.json?alt=json&prettyPrint=false", None)
    assert state["detect_md5hash"] == state["md5hash"] and state["generation"] > 0
    assert state["media_link"] and state["storage_class"] == "STANDARD"
    written.delete(state)
    assert storage.taken() == [("DELETE", f"{BUCKET}/o/platform.json?alt=json&prettyPrint=false", None)]
    assert written.read(state) is None
    bucket.delete(made)


@pytest.mark.parametrize("argument", ["cors", "website", "logging"])
def test_what_cannot_be_said_is_refused(storage: Recorder, argument: str) -> None:
    with pytest.raises(CloudError, match=f"the stand-in cannot say {argument}"):
        Bucket(storage).create(bucket_plan(storage.project, **{argument: [{}]}))
