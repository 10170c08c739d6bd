from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.records.leases import LeaseState, reserve
from launcher.records.platform import PlatformFile, Pool, StandingNode, parse
from launcher.records.policy import PolicySettings

LEAST: dict[str, Any] = {
    "schema": 1,
    "platform": "tpu",
    "project": "my-project",
    "zones": ["us-central1-a"],
    "bucket": "my-jobs",
    "control_bucket": "my-control",
}
WHOLE: dict[str, Any] = {
    **LEAST,
    "region": "us-central1",
    "connect": "iap",
    "external_ip": False,
    "internet": False,
    "network": "tpu",
    "subnetwork": "tpu",
    "service_account": None,
    "service_accounts": {"red": "red@x"},
    "images": "us-central1-docker.pkg.dev/my-project/tpu",
    "python_index": "https://us-central1-python.pkg.dev/my-project/tpu-python/simple/",
    "idle_shutdown": {"drain_s": 60, "grace_s": 120, "keep_warm_s": 30, "max_lifetime_s": 7200},
    "pools": {
        "a": {
            "accelerator": "v5litepod-8",
            "zones": ["us-central1-a"],
            "spot": True,
            "reservation": None,
            "runtime_version": None,
            "max_nodes": 3,
            "keep_warm_s": 900,
            "max_lifetime_s": 86400,
            "max_usd_per_hour": 2.5,
            "shared": True,
        }
    },
    "nodes": [
        {
            "node": "tpu-dev-0",
            "queued_resource": "tpu-dev",
            "zone": "us-central1-a",
            "accelerator": "v5litepod-1",
            "spot": False,
            "runtime_version": "r",
            "keep_warm_s": 10,
            "max_lifetime_s": 3600,
        },
        {"node": "tpu-vm", "queued_resource": None, "zone": "us-central1-a", "accelerator": "v5litepod-4"},
    ],
    "gke": {"cluster": "tpu", "location": "us-central1", "dns_endpoint": "x.gke.goog"},
}


def read(document: Any) -> PlatformFile:
    return parse(json.dumps(document).encode())


def problems(document: Any) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is what the tests look at
        read(document)
    return str(caught.value).splitlines()


def test_all_that_the_file_says_is_read() -> None:
    file = read(WHOLE)
    assert (file.platform, file.zones, file.external_ip, file.service_account) == (
        "tpu",
        ("us-central1-a",),
        False,
        None,
    )
    assert (file.idle_shutdown.grace_s, file.service_accounts) == (120.0, {"red": "red@x"})
    assert file.pools["a"] == Pool(
        "a", "v5litepod-8", ("us-central1-a",), True, None, None, 3, 900.0, 86400.0, 2.5, True
    )
    assert file.nodes[0] == StandingNode(
        "tpu-dev-0", "us-central1-a", "v5litepod-1", "tpu-dev", False, "r", 10.0, 3600.0
    )
    assert file.gke is not None and file.gke.cluster == "tpu"


def test_what_is_left_out_or_null_or_unknown_is_no_problem() -> None:
    file = read({**LEAST, "schema": 7, "pools": None, "nodes": None, "gke": None, "idle_shutdown": None, "new": [1]})
    assert (file.schema, file.pools, file.nodes, file.gke) == (7, {}, (), None)
    assert (file.connect, file.idle_shutdown.keep_warm_s) == ("iap", 900.0)


def test_every_problem_is_told_with_its_place() -> None:
    document = {
        **WHOLE,
        "bucket": "",
        "zones": "us-central1-a",
        "idle_shutdown": {"grace_s": -1},
        "pools": {"a": {"accelerator": 8, "zones": [], "max_usd_per_hour": True}, "b": 3},
        "nodes": [{"node": "x", "zone": "z"}, "y"],
        "gke": {"cluster": "tpu"},
    }
    del document["project"]
    assert set(problems(document)) == {
        "pools.b: expected an object, got int",
        "pools.a.accelerator: expected str, got int",
        "pools.a.zones is empty",
        "pools.a.max_usd_per_hour: expected number, got bool",
        "pools.b.accelerator is missing",
        "pools.b.zones is missing",
        "nodes[0].accelerator is missing",
        "nodes[1]: expected an object, got str",
        "nodes[1].node is missing",
        "nodes[1].zone is missing",
        "nodes[1].accelerator is missing",
        "idle_shutdown.grace_s: must be a number, 0 or more, not -1",
        "gke.location is missing",
        "project is missing",
        "zones: expected list, got str",
        "bucket is empty",
    }


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": NaN}'])
def test_what_is_no_such_file_at_all(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|missing|expected"):
        parse(data)


def test_a_registered_node_is_found_by_what_can_be_deleted_and_by_what_people_call_it() -> None:
    file = read(WHOLE)
    queued, alone = file.nodes
    zone = "us-central1-a"
    assert (file.standing(zone, "tpu-dev"), file.standing(zone, "tpu-vm")) == (queued, alone)
    assert file.standing(zone, "tpu-dev-0") is file.standing("us-east5-a", "tpu-dev") is None
    assert {file.named(zone, name) for name in ("tpu-dev", "tpu-dev-0", "dev")} == {queued}
    assert file.named(zone, "vm") is alone and file.named(zone, "tpu") is None


def test_what_terraform_says_of_a_node_goes_before_what_its_lease_says() -> None:
    node = read(WHOLE).nodes[0]
    lease = reserve(
        resource="tpu-dev", zone="z", platform="tpu", owner="ada", holder="h", accelerator="v5litepod-1", spot=False,
        external=True, keep_warm_s=1e9, max_lifetime_s=1e9, warm_until=1e9,
    )  # fmt: skip
    mine = node.within(lease)
    assert (mine.state, mine.external, mine.standing) == (LeaseState.RESERVED, False, True)
    assert (mine.keep_warm_s, mine.max_lifetime_s, mine.warm_until) == (10.0, 3600.0, 0.0)
    settings = node.unleased(PolicySettings())
    assert (settings.grace_s, settings.max_lifetime_s) == (600.0, 3600.0)


def test_a_lease_of_an_earlier_node_under_the_same_name_is_told() -> None:
    lease = reserve(
        resource="tpu-dev",
        zone="z",
        platform="tpu",
        owner="ada",
        holder="h",
        accelerator="a",
        spot=False,
        created=100.0,
    )
    assert lease.outlived(updated=500.0, created=400.0)
    assert not lease.outlived(updated=500.0, created=100.0)
