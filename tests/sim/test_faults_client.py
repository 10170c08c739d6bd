"""Every fault as Google's own clients meet it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage, tpu_v2

from launcher.sim import control
from tests.sim.tpu_fixtures import PARENT, ZONE, node, queued, result, simulator, tpu_client, until

OTHER_ZONE = "us-central1-a"
OTHER = f"projects/simulated-project/locations/{OTHER_ZONE}"
Inject = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    with simulator(tmp_path_factory.mktemp("sim")) as status:
        yield status


@pytest.fixture
def inject(status: control.Status) -> Iterator[Inject]:
    folder = Path(status["state_dir"])

    def inject(name: str, **how: Any) -> dict[str, Any]:
        return control.inject(name, folder=folder, **how)

    yield inject
    for name in {fault["name"] for fault in (control.status(folder) or {})["faults"]}:
        control.inject(name, off=True, folder=folder)


@pytest.fixture
def client(status: control.Status) -> Iterator[tpu_v2.TpuClient]:
    with tpu_client(status) as client:
        yield client
        for parent in (PARENT, OTHER):
            for resource in client.list_queued_resources(parent=parent):
                result(client.delete_queued_resource({"name": resource.name, "force": True}))


@pytest.fixture
def bucket(status: control.Status) -> Iterator[storage.Bucket]:
    options = {"api_endpoint": status["storage"]}
    with storage.Client("simulated-project", AnonymousCredentials(), client_options=options) as client:
        yield client.bucket(status["bucket"])


def ask_for(client: tpu_v2.TpuClient, name: str, **fields: Any) -> Any:
    return client.create_queued_resource(
        parent=PARENT, queued_resource_id=name, queued_resource=queued(f"{name}-0", **fields), retry=None
    )


def state_of(client: tpu_v2.TpuClient, name: str) -> str:
    return str(client.get_queued_resource(name=f"{PARENT}/queuedResources/{name}").state.state.name)


def in_state(client: tpu_v2.TpuClient, name: str, wanted: str) -> Any:
    until(lambda: state_of(client, name), lambda state: state == wanted)
    return client.get_queued_resource(name=f"{PARENT}/queuedResources/{name}").state


def reason_of(error: exceptions.GoogleAPICallError) -> str:
    return str(error.reason)


# --- what strikes a queued resource -------------------------------------------------------------------------


def test_an_active_queued_resource_is_suspended_at_once(client: tpu_v2.TpuClient, inject: Inject) -> None:
    ask_for(client, "active")
    in_state(client, "active", "ACTIVE")
    assert inject("suspended", node="active-0")["nodes"] == [f"{PARENT}/queuedResources/active"]
    state = in_state(client, "active", "SUSPENDED")
    assert state.state_initiator.name == "SERVICE"
    assert client.get_node(name=f"{PARENT}/nodes/active-0").state.name == "PREEMPTED"


def test_one_that_waits_is_suspended_too(client: tpu_v2.TpuClient, inject: Inject) -> None:
    later = {"valid_after_duration": {"seconds": 3600}}
    ask_for(client, "waits", queueing_policy=later)
    in_state(client, "waits", "ACCEPTED")
    assert inject("suspended", zone=ZONE)["nodes"] == [f"{PARENT}/queuedResources/waits"]
    in_state(client, "waits", "SUSPENDED")


def test_where_there_is_none_the_next_one_is_suspended(client: tpu_v2.TpuClient, inject: Inject) -> None:
    assert inject("suspended", zone=ZONE)["armed"] == 1
    ask_for(client, "next")
    in_state(client, "next", "SUSPENDED")
    assert f"{PARENT}/nodes/next-0" not in [each.name for each in client.list_nodes(parent=PARENT)]
    ask_for(client, "after")
    in_state(client, "after", "ACTIVE")


def test_a_quota_refuses_the_request(client: tpu_v2.TpuClient, inject: Inject) -> None:
    inject("quota", zone=ZONE)
    words = f"Quota 'TPUV5sLitepodServingPerProjectPerZoneForTPUAPI' exhausted. Limit 0 in zone {ZONE}"
    with pytest.raises(exceptions.TooManyRequests, match=words):
        ask_for(client, "beyond")
    inject("quota", zone=ZONE)
    big = node("v5litepod-16", scheduling_config={"preemptible": True})
    with pytest.raises(exceptions.TooManyRequests, match="TPUV5sPreemptibleLitepodPerProject"):
        client.create_node(parent=PARENT, node_id="big", node=big, retry=None)
    ask_for(client, "within")
    in_state(client, "within", "ACTIVE")


def test_a_quota_fails_a_request_that_was_accepted(client: tpu_v2.TpuClient, inject: Inject) -> None:
    inject("quota", zone=ZONE, value="failed")
    config = {"type_": "V5LITE_POD", "topology": "2x4"}
    spec = {"parent": PARENT, "node_id": "failing-0", "node": {**node(""), "accelerator_config": config}}
    wanted = tpu_v2.QueuedResource(tpu={"node_spec": [spec]}, spot={})
    client.create_queued_resource(parent=PARENT, queued_resource_id="failing", queued_resource=wanted)
    failure = in_state(client, "failing", "FAILED").failed_data.error
    assert failure.code == 8 and "Quota 'TPUV5sPreemptibleLitepodServingPer" in failure.message


def test_a_slow_operation_lasts_as_long_as_it_is_told(
    client: tpu_v2.TpuClient, inject: Inject, status: control.Status
) -> None:
    inject("slow-operation", value="3600")
    ask_for(client, "slow")
    in_state(client, "slow", "PROVISIONING")
    control.advance(3000, folder=Path(status["state_dir"]))
    assert state_of(client, "slow") == "PROVISIONING"
    control.advance(700, folder=Path(status["state_dir"]))
    in_state(client, "slow", "ACTIVE")


# --- what strikes requests ----------------------------------------------------------------------------------


def test_one_zone_is_forbidden(client: tpu_v2.TpuClient, inject: Inject) -> None:
    assert inject("forbidden", zone=ZONE) == {"name": "forbidden", "standing": True}
    with pytest.raises(exceptions.Forbidden, match=r"Permission 'tpu\.nodes\.list' denied") as caught:
        client.list_nodes(parent=PARENT, retry=None)
    assert reason_of(caught.value) == "IAM_PERMISSION_DENIED"
    with pytest.raises(exceptions.Forbidden, match=r"'tpu\.nodes\.create'"):
        ask_for(client, "never")
    assert list(client.list_nodes(parent=OTHER)) == []
    inject("forbidden", zone=ZONE, off=True)
    assert list(client.list_nodes(parent=PARENT)) == []


def test_one_zone_is_down(client: tpu_v2.TpuClient, inject: Inject) -> None:
    inject("zone-down", zone=ZONE)
    for _ in range(3):
        with pytest.raises(exceptions.ServiceUnavailable):
            client.list_queued_resources(parent=PARENT, retry=None)
    assert list(client.list_queued_resources(parent=OTHER)) == []
    inject("zone-down", off=True)
    assert list(client.list_queued_resources(parent=PARENT)) == []


def test_a_tpu_answer_is_lost_and_the_request_took_effect(client: tpu_v2.TpuClient, inject: Inject) -> None:
    inject("lost-answer", value="tpu")
    assert list(client.list_nodes(parent=PARENT)) == []  # a read is heard
    with pytest.raises(requests.ConnectionError):
        ask_for(client, "unheard")
    in_state(client, "unheard", "ACTIVE")
    with pytest.raises(exceptions.Conflict):
        ask_for(client, "unheard")


def test_a_storage_answer_is_lost_and_the_object_is_there(bucket: storage.Bucket, inject: Inject) -> None:
    inject("lost-answer", value="storage")
    blob = bucket.blob("unheard")
    with pytest.raises(requests.ConnectionError):
        blob.upload_from_string(b"x" * 300_000, if_generation_match=0, retry=None)
    assert blob.download_as_bytes() == b"x" * 300_000
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"y", if_generation_match=0, retry=None)


def test_others_are_served_while_an_answer_is_lost(status: control.Status, inject: Inject) -> None:
    inject("lost-answer", value="storage")
    path = f"/upload/storage/v1/b/{status['bucket']}/o?uploadType=media&name="
    heard: list[int] = []

    def write(name: str) -> None:
        connection = http.client.HTTPConnection(status["storage"].removeprefix("http://"), timeout=30)
        try:
            connection.request("POST", path + name, body=b"x")
            heard.append(connection.getresponse().status)
        except (http.client.HTTPException, OSError):
            heard.append(0)
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(heard) == [0, *[200] * 7]


def test_pages_are_as_small_as_told(client: tpu_v2.TpuClient, bucket: storage.Bucket, inject: Inject) -> None:
    for name in ("p1", "p2", "p3"):
        ask_for(client, name)
        bucket.blob(f"pages/{name}").upload_from_string(b"")
    inject("page-size", value="2")
    listed = client.list_queued_resources(tpu_v2.ListQueuedResourcesRequest(parent=PARENT, page_size=100))
    assert [len(page.queued_resources) for page in listed.pages] == [2, 1]
    assert [page.num_items for page in bucket.list_blobs(prefix="pages/", page_size=1).pages] == [1, 1, 1]
    assert [page.num_items for page in bucket.list_blobs(prefix="pages/").pages] == [2, 1]


def test_a_missing_permission_is_refused_by_the_call_itself(
    client: tpu_v2.TpuClient, bucket: storage.Bucket, inject: Inject
) -> None:
    for permission in ("tpu.nodes.create", "storage.objects.delete", "storage.buckets.get"):
        inject("missing-permission", value=permission)
    with pytest.raises(exceptions.Forbidden, match=r"Permission 'tpu\.nodes\.create' denied"):
        ask_for(client, "denied")
    assert list(client.list_nodes(parent=PARENT)) == []
    blob = bucket.blob("mine")
    blob.upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(exceptions.Forbidden, match=r"does not have storage\.objects\.delete access"):
        blob.upload_from_string(b"2", if_generation_match=blob.generation)
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.delete"):
        blob.delete(retry=None)
    with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.get .*Cloud Storage bucket"):
        bucket.reload(retry=None)
    asked = ["storage.objects.get", "storage.objects.delete"]
    assert bucket.test_iam_permissions(asked) == ["storage.objects.get"]
    inject("missing-permission", value="storage.objects.delete", off=True)
    blob.delete()


@pytest.mark.parametrize("service", ["tpu", "storage"])
def test_a_disabled_api_says_so_as_google_does(
    client: tpu_v2.TpuClient, bucket: storage.Bucket, inject: Inject, service: str
) -> None:
    inject("disabled-api", value=f"{service}.googleapis.com")
    calls = {"tpu": lambda: client.list_nodes(parent=PARENT, retry=None), "storage": lambda: bucket.reload(retry=None)}
    with pytest.raises(exceptions.Forbidden, match=r"has not been used in project .* or it is disabled") as caught:
        calls.pop(service)()
    detail = next(each for each in caught.value.response.json()["error"]["details"] if "reason" in each)
    assert detail["reason"] == "SERVICE_DISABLED"
    assert detail["metadata"]["service"] == f"{service}.googleapis.com"
    for other in calls.values():
        other()


def test_the_services_of_the_project(status: control.Status, inject: Inject) -> None:
    inject("disabled-api", value="tpu.googleapis.com")
    url = f"{status['tpu']}/v1/projects/simulated-project/services"
    states = {each["config"]["name"]: each["state"] for each in requests.get(url, timeout=30).json()["services"]}
    assert states == {"storage.googleapis.com": "ENABLED", "tpu.googleapis.com": "DISABLED"}
    enabled = requests.get(url, params={"filter": "state:ENABLED"}, timeout=30).json()["services"]
    assert [each["config"]["name"] for each in enabled] == ["storage.googleapis.com"]
    assert requests.get(f"{url}/tpu.googleapis.com", timeout=30).json()["state"] == "DISABLED"


# --- workers ------------------------------------------------------------------------------------------------


def test_the_clocks_of_workers_are_wrong(client: tpu_v2.TpuClient, inject: Inject, status: control.Status) -> None:
    def wrong(name: str) -> float:
        (offset,) = Path(status["state_dir"]).glob(f"workers/{ZONE}/{name}-0/clock/offset")
        return float(offset.read_text().split()[1])

    ask_for(client, "early")
    in_state(client, "early", "ACTIVE")
    inject("clock-skew", value="90")
    ask_for(client, "late")
    in_state(client, "late", "ACTIVE")
    assert (wrong("early-0"), wrong("late-0")) == (90.0, 90.0)
    inject("clock-skew", node="late-0", value="-30.5")
    assert (wrong("early-0"), wrong("late-0")) == (90.0, -30.5)
    inject("clock-skew", off=True)
    assert (wrong("early-0"), wrong("late-0")) == (0.0, 0.0)


# --- injecting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, how, said",
    [
        ("stockout", {"zone": "us-moon1-a"}, "there is no zone 'us-moon1-a'; there are: asia-"),
        ("forbidden", {"zone": "us-moon1-a", "off": True}, "there is no zone 'us-moon1-a'"),
        ("preemption", {"node": "nobody"}, "no node called 'nobody' is READY"),
        ("suspended", {"node": "nobody"}, "no node called 'nobody' is there"),
        ("clock-skew", {"node": "nobody", "value": "3"}, "there is no node called 'nobody'"),
        ("zone-down", {"off": True}, "no zone-down waits or stands"),
        ("preemption", {"off": True}, "no preemption waits or stands"),
        ("page-size", {}, "page-size needs --value: a number from 1"),
    ],
)
def test_what_cannot_be_injected_is_an_error(inject: Inject, name: str, how: dict[str, Any], said: str) -> None:
    with pytest.raises(control.SimulatorError, match=said):
        inject(name, **how)


def test_what_stands_is_told_by_status(inject: Inject, status: control.Status) -> None:
    inject("forbidden", zone=ZONE)
    inject("quota", value="failed", count=2)
    found = control.status(Path(status["state_dir"]))
    assert found is not None
    assert found["faults"] == [
        {"name": "forbidden", "node": None, "zone": ZONE, "value": "", "count": None},
        {"name": "quota", "node": None, "zone": None, "value": "failed", "count": 2},
    ]
    assert inject("quota", off=True) == {"name": "quota", "cleared": 1}
