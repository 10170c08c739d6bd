"""The simulator's own table of messages against Google's generated classes."""

from __future__ import annotations

from typing import Any

import proto
import pytest
from google.cloud import tpu_v2

from launcher.sim import tpu_schema
from launcher.sim.http import GoogleError

_CLASSES: dict[str, Any] = {
    "Tpu": tpu_v2.QueuedResource.Tpu,
    "NodeSpec": tpu_v2.QueuedResource.Tpu.NodeSpec,
    "MultisliceParams": tpu_v2.QueuedResource.Tpu.NodeSpec.MultisliceParams,
    "Spot": tpu_v2.QueuedResource.Spot,
    "Guaranteed": tpu_v2.QueuedResource.Guaranteed,
    "QueueingPolicy": tpu_v2.QueuedResource.QueueingPolicy,
    "FailedData": tpu_v2.QueuedResourceState.FailedData,
}
_FROM_ELSEWHERE = {"Interval", "Status", "Empty"}
#: Fields of these requests that travel in the path.
_IN_PATH = {"GetGuestAttributesRequest": {"name"}, "StopNodeRequest": {"name"}, "StartNodeRequest": {"name"}}


@pytest.mark.parametrize("message", sorted(set(tpu_schema.MESSAGES) - _FROM_ELSEWHERE))
def test_message_has_the_fields_that_google_defines(message: str) -> None:
    defined = _CLASSES.get(message) or getattr(tpu_v2, message)
    names = {field.json_name for field in defined.pb().DESCRIPTOR.fields} - _IN_PATH.get(message, set())
    assert set(tpu_schema.MESSAGES[message]) == names


@pytest.mark.parametrize("message", sorted(set(tpu_schema.MESSAGES) - _FROM_ELSEWHERE))
def test_field_is_repeated_where_google_repeats_it(message: str) -> None:
    defined = _CLASSES.get(message) or getattr(tpu_v2, message)
    for field in defined.pb().DESCRIPTOR.fields:
        kind = tpu_schema.MESSAGES[message].get(field.json_name)
        if kind is not None:
            assert (kind.startswith("[]") or kind == "map") == field.is_repeated, field.json_name


@pytest.mark.parametrize("enum", sorted(tpu_schema.ENUMS))
def test_enum_has_the_numbers_that_google_defines(enum: str) -> None:
    message, member = enum.split(".")
    defined: Any = getattr(getattr(tpu_v2, message), member)
    assert issubclass(defined, proto.Enum)
    ours = {name: number for number, name in enumerate(tpu_schema.ENUMS[enum]) if name is not None}
    assert ours == {each.name: each.value for each in defined}


def test_parse_google_client_json_of_a_full_queued_resource_is_accepted() -> None:
    resource = tpu_v2.QueuedResource(
        tpu={
            "node_spec": [
                {
                    "parent": "projects/p/locations/z",
                    "node_id": "n",
                    "node": {
                        "accelerator_config": {"type_": "V6E", "topology": "2x4"},
                        "labels": {"a": "b"},
                        "metadata": {"ssh-keys": "x"},
                        "tags": ["t"],
                        "data_disks": [{"source_disk": "d", "mode": "READ_ONLY"}],
                        "id": 7,
                    },
                }
            ]
        },
        guaranteed={"min_duration": {"seconds": 60}},
        queueing_policy={"valid_until_time": {"seconds": 1_800_000_000}},
    )
    value = tpu_v2.QueuedResource.to_dict(resource, preserving_proto_field_name=False)
    wire = {key: value[key] for key in ("tpu", "guaranteed", "queueingPolicy")}
    parsed = tpu_schema.parse("QueuedResource", wire, "queued_resource")
    node = parsed["tpu"]["nodeSpec"][0]["node"]
    assert node["acceleratorConfig"]["type"] == "V6E"  # sent as a number
    assert node["dataDisks"][0]["mode"] == "READ_ONLY"
    assert parsed["guaranteed"] == {"minDuration": "60s"}


@pytest.mark.parametrize(
    "body, words",
    [
        ({"x": 1}, "Invalid JSON payload received. Unknown name \"x\" at 'node': Cannot find field."),
        ({"labels": {"a": 1}}, "Invalid value at 'node.labels[a].value' (TYPE_STRING), 1"),
        ({"networkConfig": {"enableExternalIps": "yes"}}, "'node.network_config.enable_external_ips' (TYPE_BOOL)"),
        ({"networkConfig": []}, "'node.network_config' (type.googleapis.com/google.cloud.tpu.v2.NetworkConfig)"),
        ({"acceleratorConfig": {"type": "V9"}}, 'google.cloud.tpu.v2.AcceleratorConfig.Type), "V9"'),
        ({"id": "seven"}, "Invalid value at 'node.id' (TYPE_INT64), \"seven\""),
        ({"createTime": "yesterday"}, "(type.googleapis.com/google.protobuf.Timestamp)"),
        (["no"], "Invalid value at 'node'"),
    ],
)
def test_parse_wrong_node_is_refused_in_googles_words(body: object, words: str) -> None:
    with pytest.raises(GoogleError) as caught:
        tpu_schema.parse("Node", body, "node")
    assert caught.value.code == 400 and words in caught.value.message


def test_parse_names_every_mistake_at_once() -> None:
    with pytest.raises(GoogleError) as caught:
        tpu_schema.parse("Node", {"x": 1, "schedulingConfig": {"y": 2}}, "node")
    violations = caught.value.details[0]["fieldViolations"]
    assert [each["field"] for each in violations] == ["node", "node.scheduling_config"]


def test_parse_takes_both_spellings_and_drops_null() -> None:
    parsed = tpu_schema.parse("Node", {"runtime_version": "a", "acceleratorType": "b", "tags": None}, "node")
    assert parsed == {"runtimeVersion": "a", "acceleratorType": "b"}


@pytest.mark.parametrize(
    "message, body",
    [
        ("QueuedResource", {"spot": {}, "guaranteed": {}}),
        ("NodeSpec", {"nodeId": "a", "multisliceParams": {"nodeCount": 2}}),
        ("QueueingPolicy", {"validUntilDuration": "1s", "validUntilTime": "2026-01-01T00:00:00Z"}),
    ],
)
def test_parse_two_members_of_a_oneof_are_refused(message: str, body: object) -> None:
    with pytest.raises(GoogleError, match=r"oneof field '.*' is already set"):
        tpu_schema.parse(message, body, "at")
