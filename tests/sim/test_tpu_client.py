"""Google's own Cloud TPU client against a simulator that runs as a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.api_core import exceptions
from google.cloud import tpu_v2

from launcher.sim import catalog, control
from tests.sim.tpu_fixtures import (
    PARENT,
    ZONE,
    empty,
    make_active,
    node,
    queued,
    queued_state,
    result,
    simulator,
    tpu_client,
    until,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    with simulator(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture
def status(shared: control.Status) -> Iterator[control.Status]:
    yield shared
    empty(shared)


@pytest.fixture
def client(status: control.Status) -> Iterator[tpu_v2.TpuClient]:
    with tpu_client(status) as each:
        yield each


def force_delete(client: tpu_v2.TpuClient, name: str) -> None:
    request = tpu_v2.DeleteQueuedResourceRequest(name=f"{PARENT}/queuedResources/{name}", force=True)
    result(client.delete_queued_resource(request=request))


def test_queued_resource_becomes_active_and_its_node_can_be_reached(client: tpu_v2.TpuClient) -> None:
    created = result(
        client.create_queued_resource(
            parent=PARENT,
            queued_resource_id="reach",
            queued_resource=queued("reach", "v5litepod-16", spot=tpu_v2.QueuedResource.Spot()),
        )
    )
    assert created.name == f"{PARENT}/queuedResources/reach" and "spot" in created
    until(lambda: queued_state(client, "reach"), lambda state: state == "ACTIVE")
    found = client.get_node(name=f"{PARENT}/nodes/reach")
    assert found.state.name == "READY" and found.health.name == "HEALTHY"
    assert found.scheduling_config.spot and found.queued_resource == created.name
    assert (found.accelerator_config.type_.name, found.accelerator_config.topology) == ("V5LITE_POD", "4x4")
    addresses = [endpoint.ip_address for endpoint in found.network_endpoints]
    assert len(set(addresses)) == 4 and all(address.startswith("127.") for address in addresses)


def test_guest_attributes_name_each_workers_host_key(client: tpu_v2.TpuClient) -> None:
    name = make_active(client, "guests", "v5litepod-16")

    def ask(path: str, workers: list[str]) -> list[tpu_v2.GuestAttributes]:
        request = tpu_v2.GetGuestAttributesRequest(name=name, query_path=path, worker_ids=workers)
        return list(client.get_guest_attributes(request=request).guest_attributes)

    everything = ask("", [])
    assert len(everything) == 4
    keys = ask("hostkeys/", ["3", "0"])
    assert [item.namespace for each in keys for item in each.query_value.items] == ["hostkeys", "hostkeys"]
    key_of_3 = ask("hostkeys/ssh-ed25519", ["3"])[0].query_value.items[0]
    assert key_of_3.value.startswith("AAAA") and key_of_3 == keys[0].query_value.items[0]
    assert len({item.value for each in ask("hostkeys/", []) for item in each.query_value.items}) == 4
    with pytest.raises(exceptions.BadRequest, match="worker id"):
        ask("", ["4"])


def test_delete_of_an_active_queued_resource_without_force_is_refused(client: tpu_v2.TpuClient) -> None:
    make_active(client, "kept")
    with pytest.raises(exceptions.BadRequest, match="ACTIVE"):
        client.delete_queued_resource(name=f"{PARENT}/queuedResources/kept")
    assert queued_state(client, "kept") == "ACTIVE"
    force_delete(client, "kept")
    with pytest.raises(exceptions.NotFound):
        queued_state(client, "kept")
    with pytest.raises(exceptions.NotFound):
        client.get_node(name=f"{PARENT}/nodes/kept")
    with pytest.raises(exceptions.NotFound):
        client.delete_queued_resource(name=f"{PARENT}/queuedResources/kept")


def test_node_lives_a_whole_life(client: tpu_v2.TpuClient) -> None:
    created = client.create_node(parent=PARENT, node_id="life", node=node(labels={"a": "b"}))
    assert created.metadata.verb == "create" and created.metadata.target == f"{PARENT}/nodes/life"
    assert result(created).state.name == "READY"
    changed = client.update_node(
        node=tpu_v2.Node(name=f"{PARENT}/nodes/life", labels={"a": "c"}, metadata={"ssh-keys": "x"}),
        update_mask={"paths": ["labels", "metadata"]},
    )
    found = result(changed)
    assert dict(found.labels) == {"a": "c"} and dict(found.metadata) == {"ssh-keys": "x"}
    assert result(client.stop_node(request={"name": found.name})).state.name == "STOPPED"
    assert result(client.start_node(request={"name": found.name})).state.name == "READY"
    result(client.delete_node(name=found.name))
    with pytest.raises(exceptions.NotFound, match=r"nodes/life' was not found"):
        client.get_node(name=found.name)


def test_create_again_under_the_same_id_is_a_conflict_unless_the_request_id_repeats(
    client: tpu_v2.TpuClient,
) -> None:
    request = tpu_v2.CreateQueuedResourceRequest(
        parent=PARENT, queued_resource_id="once", queued_resource=queued("once"), request_id="r-1"
    )
    first = client.create_queued_resource(request=request)
    assert client.create_queued_resource(request=request).operation.name == first.operation.name
    request.request_id = "r-2"
    with pytest.raises(exceptions.Conflict, match="already exists"):
        client.create_queued_resource(request=request)
    until(lambda: queued_state(client, "once"), lambda state: state == "ACTIVE")
    with pytest.raises(exceptions.Conflict, match="nodes/once"):
        client.create_queued_resource(parent=PARENT, queued_resource_id="other", queued_resource=queued("once"))


def test_lists_come_in_pages(client: tpu_v2.TpuClient) -> None:
    names = [make_active(client, f"page-{index}") for index in range(5)]
    nodes = client.list_nodes(request=tpu_v2.ListNodesRequest(parent=PARENT, page_size=2))
    assert [len(page.nodes) for page in nodes.pages] == [2, 2, 1]
    resources = client.list_queued_resources(request=tpu_v2.ListQueuedResourcesRequest(parent=PARENT, page_size=2))
    assert [each.name.rsplit("/", 1)[-1] for each in resources] == [name.rsplit("/", 1)[-1] for name in names]
    assert not list(client.list_nodes(parent=PARENT.replace(ZONE, "us-central1-a")))


def test_what_a_zone_offers_is_listed(client: tpu_v2.TpuClient) -> None:
    listed = list(client.list_accelerator_types(parent=PARENT))
    assert [each.type_ for each in listed] == [each.name for each in catalog.accelerators(ZONE)]
    one = client.get_accelerator_type(name=f"{PARENT}/acceleratorTypes/v5litepod-8")
    assert one.accelerator_configs[0].topology == "2x4"
    versions = {each.version for each in client.list_runtime_versions(parent=PARENT)}
    assert "v2-alpha-tpuv5-lite" in versions
    with pytest.raises(exceptions.NotFound):
        client.get_accelerator_type(name=f"{PARENT}/acceleratorTypes/v5p-8")
    locations = client.list_locations({"name": "projects/simulated-project"}).locations
    assert [each.location_id for each in locations] == list(catalog.ZONES)
    operations = client.list_operations({"name": PARENT}).operations
    assert all(each.name.startswith(f"{PARENT}/operations/") for each in operations)


def test_stockout_then_success_in_the_next_request(client: tpu_v2.TpuClient, status: control.Status) -> None:
    control.inject("stockout", zone=ZONE, folder=folder_of(status))
    client.create_queued_resource(parent=PARENT, queued_resource_id="out", queued_resource=queued("out"))
    until(lambda: queued_state(client, "out"), lambda state: state == "FAILED")
    failed = client.get_queued_resource(name=f"{PARENT}/queuedResources/out").state.failed_data.error
    assert failed.code == 8 and "There is no more capacity in the zone" in failed.message
    result(client.delete_queued_resource(name=f"{PARENT}/queuedResources/out"))
    make_active(client, "out")


def test_preempted_node_suspends_its_queued_resource(client: tpu_v2.TpuClient, status: control.Status) -> None:
    name = make_active(client, "gone", spot=tpu_v2.QueuedResource.Spot())
    assert control.inject("preemption", node="gone", folder=folder_of(status))["nodes"] == [name]
    until(lambda: queued_state(client, "gone"), lambda state: state == "SUSPENDED")
    assert client.get_node(name=name).state.name == "PREEMPTED"
    result(client.delete_queued_resource(name=f"{PARENT}/queuedResources/gone"))
    with pytest.raises(exceptions.NotFound):
        client.get_node(name=name)


def folder_of(status: control.Status) -> control.Path:
    return control.Path(status["state_dir"])
