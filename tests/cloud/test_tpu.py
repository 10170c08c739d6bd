from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from launcher.cloud.retry import classify_failure
from launcher.cloud.seams import NodeSpec, QueuedResource
from launcher.cloud.tpu import CloudTpu
from launcher.config import Profile
from launcher.errors import (
    ApiDisabled,
    Conflict,
    InvalidRequest,
    NotFound,
    OutOfCapacity,
    PermissionDenied,
    QuotaExceeded,
    Unavailable,
)
from launcher.sim import control
from tests.cloud.relay import FakeClock, Fault, Relay, google_error

T = TypeVar("T")
ZONE = "us-central1-a"
QR = "sim-20260101-000000000-abcdef-a1"


@pytest.fixture
def tpu(profile: Profile, relay: Relay, clock: FakeClock) -> CloudTpu:
    return CloudTpu(profile.project, relay.url, credentials="anonymous", clock=clock)


@pytest.fixture
def spec(tpu: CloudTpu, sim_folder: Path) -> Iterator[NodeSpec]:
    name = f"sim-{uuid.uuid4().hex[:12]}"
    yield NodeSpec(
        queued_resource=name,
        node=f"{name}-0",
        accelerator="v5litepod-1",
        runtime_version="v2-alpha-tpuv5-lite",
        labels={"launcher-owner": "eva"},
        metadata={"startup-script": "true"},
        external_ip=False,
        valid_for_s=3600.0,
    )
    tpu.delete_queued_resource(ZONE, name)
    until(lambda: tpu.get_queued_resource(ZONE, name) is None)


def until(look: Callable[[], T]) -> T:
    """What `look` says once it says something; each look is a request, the simulator's states take real time."""
    for _ in range(20_000):
        if found := look():
            return found
    raise AssertionError("it does not happen")


def in_state(tpu: CloudTpu, spec: NodeSpec, state: str) -> QueuedResource:
    def look() -> QueuedResource | None:
        found = tpu.get_queued_resource(ZONE, spec.queued_resource)
        return found if found is not None and found.state == state else None

    return until(look)


def test_a_node_from_request_to_removal(tpu: CloudTpu, spec: NodeSpec) -> None:
    tpu.create_queued_resource(ZONE, spec)
    resource = in_state(tpu, spec, "ACTIVE")
    assert resource.nodes == (spec.node,)
    assert resource.labels == spec.labels
    assert not resource.spot and resource.reason == "" and resource.create_time > 0
    assert resource in list(tpu.list_queued_resources(ZONE))

    node = tpu.get_node(ZONE, spec.node)
    assert node is not None
    assert (node.state, node.accelerator) == ("READY", spec.accelerator)
    assert (node.runtime_version, node.queued_resource, node.spot) == (spec.runtime_version, resource.name, False)
    assert (node.labels, node.metadata) == (spec.labels, spec.metadata)
    assert node.create_time >= resource.create_time
    assert [endpoint.external for endpoint in node.endpoints] == [""]
    assert spec.node in [each.name for each in tpu.list_nodes(ZONE)]

    (attributes,) = until(lambda: [a for a in tpu.guest_attributes(ZONE, spec.node) if a.host_keys])
    assert attributes.host_keys["ssh-ed25519"].startswith("AAAA")
    assert attributes.hostname

    with pytest.raises(Conflict, match=spec.queued_resource):
        tpu.create_queued_resource(ZONE, spec)

    tpu.delete_queued_resource(ZONE, spec.queued_resource)
    until(lambda: tpu.get_queued_resource(ZONE, spec.queued_resource) is None)
    assert tpu.get_node(ZONE, spec.node) is None


def test_absent_is_none_and_its_deletion_a_success(tpu: CloudTpu) -> None:
    assert tpu.get_queued_resource(ZONE, "sim-none") is None
    assert tpu.get_node(ZONE, "sim-none") is None
    assert tpu.guest_attributes(ZONE, "sim-none") == ()
    tpu.delete_queued_resource(ZONE, "sim-none")


def test_a_node_that_stands_alone_is_deleted_and_again_is_a_success(tpu: CloudTpu) -> None:
    name = f"sim-{uuid.uuid4().hex[:12]}"
    node = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite", "labels": {"a": "b"}}
    tpu._client.create_node(parent=tpu._parent(ZONE), node_id=name, node=node)
    alone = until(lambda: [it for it in tpu.list_nodes(ZONE) if (it.name, it.state) == (name, "READY")])[0]
    assert (alone.queued_resource, alone.labels) == ("", {"a": "b"})
    for _ in range(2):
        tpu.delete_node(ZONE, name)
    until(lambda: tpu.get_node(ZONE, name) is None)
    tpu.delete_node(ZONE, name)


def test_a_proxy_is_for_the_world_outside(tpu: CloudTpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert tpu.get_node(ZONE, "sim-none") is None


def test_spot_is_asked_for_and_seen(tpu: CloudTpu, spec: NodeSpec) -> None:
    tpu.create_queued_resource(ZONE, dataclasses.replace(spec, spot=True))
    assert in_state(tpu, spec, "ACTIVE").spot
    node = tpu.get_node(ZONE, spec.node)
    assert node is not None and node.spot


@pytest.mark.parametrize(
    "asked, found",
    [
        ("ours", f"projects/simulated-project/locations/{ZONE}/reservations/ours"),
        (f"projects/x/locations/{ZONE}/reservations/theirs", f"projects/x/locations/{ZONE}/reservations/theirs"),
    ],
)
def test_a_reservation_is_asked_for(tpu: CloudTpu, spec: NodeSpec, asked: str, found: str) -> None:
    tpu.create_queued_resource(ZONE, dataclasses.replace(spec, reservation=asked))
    assert in_state(tpu, spec, "ACTIVE").reservation == found


def test_a_request_expires_after_its_time_in_the_queue(tpu: CloudTpu, spec: NodeSpec) -> None:
    tpu.create_queued_resource(ZONE, spec)
    name = f"{tpu._parent(ZONE)}/queuedResources/{spec.queued_resource}"
    asked = tpu._client.get_queued_resource({"name": name}).queueing_policy
    assert asked.valid_until_duration.total_seconds() == spec.valid_for_s == 3600


def test_metadata_is_replaced_and_in_effect_on_return(tpu: CloudTpu, spec: NodeSpec, relay: Relay) -> None:
    tpu.create_queued_resource(ZONE, spec)
    in_state(tpu, spec, "ACTIVE")
    patient = CloudTpu(tpu.project, relay.url, credentials="anonymous")  # the simulator's operations take real time
    patient.set_metadata(ZONE, spec.node, {"ssh-keys": "eva:ssh-ed25519 AAAA"})
    node = tpu.get_node(ZONE, spec.node)
    assert node is not None
    assert node.metadata == {"ssh-keys": "eva:ssh-ed25519 AAAA"} and node.labels == spec.labels
    with pytest.raises(NotFound, match="sim-none"):
        tpu.set_metadata(ZONE, "sim-none", {})


def test_an_update_that_fails_or_never_ends_is_told(tpu: CloudTpu, relay: Relay) -> None:
    operation = f"projects/p/locations/{ZONE}/operations/op-1"
    error = {"code": 3, "message": "metadata too large"}
    relay.faults += [
        Fault("PATCH /v2/", status=200, body={"name": operation, "done": False}, times=2),
        Fault(f"GET /v2/{operation}", status=200, body={"name": operation, "done": False}),
        Fault(f"GET /v2/{operation}", status=200, body={"name": operation, "done": True, "error": error}),
        Fault(f"GET /v2/{operation}", status=200, body={"name": operation, "done": False}, times=1000),
    ]
    with pytest.raises(InvalidRequest, match=r"metadata of n in .* metadata too large"):
        tpu.set_metadata(ZONE, "n", {})
    with pytest.raises(Unavailable, match="not done it after"):
        tpu.set_metadata(ZONE, "n", {})


def test_a_create_whose_answer_is_lost_is_made_once(tpu: CloudTpu, spec: NodeSpec, relay: Relay) -> None:
    relay.faults.append(Fault("POST /v2/", lose_answer=True))
    with contextlib.suppress(Conflict):  # of a server that does not know request_id: it is there all the same
        tpu.create_queued_resource(ZONE, spec)
    names = [resource.name for resource in tpu.list_queued_resources(ZONE)]
    assert names.count(spec.queued_resource) == 1
    asked = [line.rpartition("requestId=")[2].partition("&")[0] for line in relay.seen if line.startswith("POST")]
    assert len(asked) == 2 and asked[0] == asked[1] != ""


def test_deletion_is_forced(tpu: CloudTpu, relay: Relay) -> None:
    tpu.delete_queued_resource(ZONE, "sim-none")
    assert "force=true" in relay.seen[-1]


BUSY = google_error(409, "unable to queue the operation", "ABORTED")


def test_a_deletion_that_is_under_way_is_no_error(tpu: CloudTpu, relay: Relay, clock: FakeClock) -> None:
    relay.faults.append(Fault("DELETE /v2/", status=409, body=BUSY))
    tpu.delete_queued_resource(ZONE, "sim-none")
    assert len(relay.seen) == 1 and clock.waits == []


def test_a_create_waits_for_another_operation(tpu: CloudTpu, spec: NodeSpec, relay: Relay) -> None:
    relay.faults.append(Fault("POST /v2/", status=409, body=BUSY))
    tpu.create_queued_resource(ZONE, spec)
    assert tpu.get_queued_resource(ZONE, spec.queued_resource) is not None


def test_stock_out(tpu: CloudTpu, spec: NodeSpec, sim_folder: Path) -> None:
    control.inject("stockout", zone=ZONE, folder=sim_folder)
    try:
        tpu.create_queued_resource(ZONE, spec)
        failed = in_state(tpu, spec, "FAILED")
    except OutOfCapacity:
        return
    assert classify_failure(failed.error_code, failed.reason) is OutOfCapacity
    assert failed.reason


def test_a_failure_that_only_the_operation_tells(tpu: CloudTpu, spec: NodeSpec, relay: Relay) -> None:
    operation = f"projects/p/locations/{ZONE}/operations/op-1"
    error = {"code": 8, "message": "There is no more capacity in the zone"}
    relay.faults += [
        Fault("POST /v2/", status=200, body={"name": operation, "done": False}),
        Fault(f"GET /v2/{operation}", status=200, body={"name": operation, "done": True, "error": error}, times=2),
        Fault("GET /v2/projects/simulated", status=404, body=google_error(404, "not found")),
        Fault("GET /v2/projects/simulated", status=200, body={"name": "x/y", "state": {"state": "FAILED"}}),
    ]
    tpu.create_queued_resource(ZONE, spec)
    for _ in range(2):
        failed = tpu.get_queued_resource(ZONE, spec.queued_resource)
        assert failed is not None
        assert (failed.state, failed.error_code, failed.reason) == ("FAILED", 8, error["message"])
    tpu.delete_queued_resource(ZONE, spec.queued_resource)
    assert tpu.get_queued_resource(ZONE, spec.queued_resource) is None


def test_the_reason_of_a_failed_resource(tpu: CloudTpu, relay: Relay) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "STOCKOUT", "domain": "x"}
    failure = {"code": 8, "message": "no more capacity", "details": [detail]}
    state = {"state": "FAILED", "failedData": {"error": failure}, "somethingNew": {"a": 1}}
    relay.faults.append(Fault("GET /v2/", status=200, body={"name": f"projects/p/{QR}", "state": state}))
    assert tpu.get_queued_resource(ZONE, QR) == QueuedResource(QR, "FAILED", "no more capacity", 8)


@pytest.mark.parametrize("who", ["USER", "SERVICE"])
def test_who_suspended_it(tpu: CloudTpu, relay: Relay, who: str) -> None:
    state = {"state": "SUSPENDED", "stateInitiator": who, "suspendedData": {}}
    relay.faults.append(Fault("GET /v2/", status=200, body={"name": f"projects/p/{QR}", "state": state}))
    found = tpu.get_queued_resource(ZONE, QR)
    assert found is not None
    assert (found.state, found.reason) == ("SUSPENDED", f"suspended by the {who.lower()}")


@pytest.mark.parametrize(
    "status, message, reason, expected, words",
    [
        (429, "Quota 'TPUV5' exhausted. Limit 16", "", QuotaExceeded, "quotas"),
        (429, "There is no more capacity in the zone", "", OutOfCapacity, "zone="),
        (403, "Cloud TPU API is disabled", "SERVICE_DISABLED", ApiDisabled, "gcloud services enable tpu"),
        (403, "Permission denied", "", PermissionDenied, r"tpu\.nodes\.create"),
        (400, "Invalid runtime version", "", InvalidRequest, "Invalid runtime version"),
    ],
)
def test_refused_requests(
    tpu: CloudTpu,
    spec: NodeSpec,
    relay: Relay,
    status: int,
    message: str,
    reason: str,
    expected: type[Exception],
    words: str,
) -> None:
    relay.faults.append(Fault("POST /v2/", status=status, body=google_error(status, message, reason=reason)))
    with pytest.raises(expected, match=words) as caught:
        tpu.create_queued_resource(ZONE, spec)
    assert f"creating {spec.queued_resource} in {ZONE}" in str(caught.value)


def test_a_list_is_whole_or_an_error(tpu: CloudTpu, relay: Relay) -> None:
    relay.faults.append(Fault("/nodes", status=200, body={"nodes": [], "unreachable": [ZONE]}))
    with pytest.raises(Unavailable, match=ZONE):
        list(tpu.list_nodes(ZONE))
    relay.faults.append(Fault("/nodes", status=500, times=1000))
    with pytest.raises(Unavailable):
        list(tpu.list_nodes(ZONE))


def test_every_page_is_read(tpu: CloudTpu, relay: Relay) -> None:
    def page(name: str, token: str) -> dict[str, object]:
        return {"nodes": [{"name": f"projects/p/locations/z/nodes/{name}"}], "nextPageToken": token}

    relay.faults += [
        Fault("/nodes", status=200, body=page("a", "more")),
        Fault("pageToken=more", status=503),
        Fault("pageToken=more", status=200, body=page("b", "")),
    ]
    assert [node.name for node in tpu.list_nodes(ZONE)] == ["a", "b"]
