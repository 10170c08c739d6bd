"""GKE and a cluster's Kubernetes API, as the simulator serves them, through a relay that misbehaves on request."""

from __future__ import annotations

import dataclasses
import itertools
import json
import urllib.request
from typing import Any

import pytest

from launcher.cloud.gke import Gke
from launcher.config import Profile
from launcher.errors import CloudError, Conflict, InvalidRequest, NotFound, PermissionDenied, Unavailable
from launcher.records.clusters import PodFacts, PoolFacts
from tests.cloud.relay import FakeClock, Fault, Relay, google_error

ZONE = "us-central1-a"
_NUMBERS = itertools.count()


class Cluster:
    """One in the simulator, with a pool of a slice of two hosts, of which there is none yet."""

    def __init__(self, profile: Profile, relay: Relay, clock: FakeClock) -> None:
        self.name = f"c{next(_NUMBERS)}"
        self.relay, self._profile = relay, profile
        for api in ("compute", "container"):
            self.ask(f"serviceusage.googleapis.com/v1/projects/{profile.project}/services/{api}.googleapis.com:enable")
        parent = f"container.googleapis.com/v1/projects/{profile.project}/locations/{ZONE}/clusters"
        dns = {"dnsEndpointConfig": {"allowExternalTraffic": True}}
        self.ask(
            parent,
            cluster={
                "name": self.name,
                "resourceLabels": {"launcher-platform": "sim"},
                "controlPlaneEndpointsConfig": dns,
                "nodePools": [{"name": "system", "initialNodeCount": 1, "config": {"machineType": "e2-standard-2"}}],
            },
        )
        self.ask(
            f"{parent}/{self.name}/nodePools",
            nodePool={
                "name": "v6e-8",
                "config": {"machineType": "ct6e-standard-4t"},
                "locations": ["us-central1-b"],
                "placementPolicy": {"type": "COMPACT", "tpuTopology": "2x4"},
            },
        )
        self.url = f"{parent}/{self.name}"
        endpoints = {
            "container_endpoint": f"{relay.url}/container.googleapis.com",
            "compute_endpoint": f"{relay.url}/compute.googleapis.com",
            "kubernetes_endpoint": f"{relay.url}/",
        }
        self.gke = Gke(dataclasses.replace(profile, **endpoints), clock=clock)  # type: ignore[arg-type]

    def ask(self, path: str, **body: Any) -> None:
        url = f"{self._profile.tpu_endpoint}/{path}"
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30
        ) as answer:
            answer.read()

    def pods(self, *pods: dict[str, Any]) -> None:
        self.ask("_sim/pods", cluster=self.name, pods=list(pods))

    def listed(self) -> tuple[PodFacts, ...]:
        found = self.gke.get(ZONE, self.name)
        assert found is not None
        return self.gke.pods(found)

    @property
    def tpu_nodes(self) -> int | None:
        found = self.gke.get(ZONE, self.name)
        assert found is not None
        return next(pool.nodes for pool in found.pools if pool.tpu)


@pytest.fixture
def cluster(profile: Profile, relay: Relay, clock: FakeClock) -> Cluster:
    return Cluster(profile, relay, clock)


def pod(name: str = "train-0", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"containers": list(containers) or [{"name": "main"}], **spec},
        "status": {"phase": "Running"},
    }


def test_a_cluster_with_its_pools_and_their_sizes(cluster: Cluster) -> None:
    found = cluster.gke.get(ZONE, cluster.name)
    assert found is not None
    assert (found.name, found.location, found.state) == (cluster.name, ZONE, "RUNNING")
    assert found.labels == {"launcher-platform": "sim"}
    assert found.uid and found.dns_endpoint.endswith(f".{ZONE}.gke.goog")
    assert found.pools == (
        PoolFacts("system", "RUNNING", "e2-standard-2", "", 1),
        PoolFacts("v6e-8", "RUNNING", "ct6e-standard-4t", "2x4", 0),
    )


def test_what_is_not_there_is_none(cluster: Cluster) -> None:
    assert cluster.gke.get(ZONE, "no-such-cluster") is None
    cluster.gke.delete(ZONE, "no-such-cluster")
    with pytest.raises(NotFound, match="gcloud container clusters list --project simulated-project"):
        cluster.gke.empty_pool(ZONE, cluster.name, "no-such-pool")


def test_a_pool_is_emptied_and_a_cluster_deleted(cluster: Cluster) -> None:
    cluster.ask(f"{cluster.url}/nodePools/v6e-8:setSize", nodeCount=2)
    assert cluster.tpu_nodes == 2
    cluster.gke.empty_pool(ZONE, cluster.name, "v6e-8")
    assert cluster.tpu_nodes == 0
    cluster.gke.delete(ZONE, cluster.name)
    assert cluster.gke.get(ZONE, cluster.name) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404, "body": google_error(404, "not found")},  # the group is gone, its pool is still listed
        {"status": 200, "body": {"name": "a-group"}},
    ],
)
def test_a_size_that_nobody_tells_is_unknown(cluster: Cluster, answer: dict[str, Any]) -> None:
    cluster.relay.faults.append(Fault("/zones/us-central1-b/instanceGroupManagers/", **answer))
    assert cluster.tpu_nodes is None


@pytest.mark.parametrize("urls", [[], ["https://www.googleapis.com/compute/v1/projects/p/regions/r/somethingNew/g"]])
def test_a_pool_without_groups_that_are_understood_has_an_unknown_size(cluster: Cluster, urls: list[str]) -> None:
    pool = {"name": "v6e-8", "status": "RUNNING", "config": {"machineType": "ct6e-standard-4t"}}
    cluster.relay.faults.append(
        Fault("/nodePools", status=200, body={"nodePools": [{**pool, "instanceGroupUrls": urls}]})
    )
    assert cluster.tpu_nodes is None


@pytest.mark.parametrize(
    "containers, spec, tpu",
    [
        ([{"name": "main"}], {}, False),
        ([{"resources": {"limits": {"google.com/tpu": "4"}}}], {}, True),
        ([{"name": "side"}, {"resources": {"requests": {"google.com/tpu": "4"}}}], {}, True),
        ([{"resources": {"limits": {"google.com/tpu": "0"}}}], {}, False),
        ([{"resources": {"limits": {"nvidia.com/gpu": "4", "cpu": "2"}}}], {}, False),
        ([{}], {"initContainers": [{"resources": {"limits": {"google.com/tpu": "1"}}}]}, True),
        ([{}], {"resourceClaims": [{"name": "tpu"}]}, True),
    ],
)
def test_which_pods_ask_for_tpus(cluster: Cluster, containers: Any, spec: dict[str, Any], tpu: bool) -> None:
    cluster.pods(pod("train-0", *containers, **spec))
    assert cluster.listed() == (PodFacts("default", "train-0", "Running", tpu),)


def test_where_a_pod_wants_to_go_is_told(cluster: Cluster) -> None:
    selector = {"cloud.google.com/gke-tpu-topology": "2x4"}
    cluster.pods(pod(nodeSelector=selector))
    assert [each.selector for each in cluster.listed()] == [selector]


def test_more_pods_than_one_page_has(cluster: Cluster) -> None:
    cluster.pods(*(pod(f"train-{number}") for number in range(1001)))
    assert [each.name for each in cluster.listed()] == [f"train-{number}" for number in range(1001)]
    assert sum("/api/v1/pods" in line for line in cluster.relay.seen) == 3


@pytest.mark.parametrize("body", [{}, {"kind": "PodList", "items": None}, {"message": "hello from somebody else"}])
def test_an_answer_that_is_no_list_of_pods_is_not_an_empty_one(cluster: Cluster, body: Any) -> None:
    cluster.relay.faults.append(Fault("/api/v1/pods", status=200, body=body))
    with pytest.raises(InvalidRequest, match="not with a list of Pods"):
        cluster.listed()


def test_a_cluster_without_a_dns_endpoint_has_pods_that_nobody_can_list(cluster: Cluster) -> None:
    found = cluster.gke.get(ZONE, cluster.name)
    assert found is not None
    for host in ("", "gke.example/other"):
        with pytest.raises(
            InvalidRequest, match=f"clusters update {cluster.name} --location {ZONE} --enable-dns-access"
        ):
            cluster.gke.pods(dataclasses.replace(found, dns_endpoint=host))


def test_kubernetes_refusal_names_permission_and_grant(cluster: Cluster) -> None:
    refusal = {"kind": "Status", "status": "Failure", "message": "pods is forbidden", "code": 403}
    cluster.relay.faults.append(Fault("/api/v1/pods", status=403, body=refusal))
    with pytest.raises(PermissionDenied, match=r"lacks container\.pods\.list .*--role=roles/container\.viewer"):
        cluster.listed()


@pytest.mark.parametrize("status, kind", [(403, PermissionDenied), (400, InvalidRequest), (409, Conflict)])
def test_a_refused_change_is_raised_as_ours(cluster: Cluster, status: int, kind: type[CloudError]) -> None:
    cluster.relay.faults.append(Fault(":setSize", status=status, body=google_error(status, "no")))
    with pytest.raises(kind, match=f"size of pool v6e-8 of cluster {cluster.name} in {ZONE} to 0 in project"):
        cluster.gke.empty_pool(ZONE, cluster.name, "v6e-8")


def test_an_outage_is_waited_for_and_then_told(cluster: Cluster, clock: FakeClock) -> None:
    cluster.relay.faults.append(Fault("/nodePools", status=503))
    assert cluster.gke.get(ZONE, cluster.name) is not None
    cluster.relay.faults.append(Fault("/api/v1/pods", status=503, times=1000))
    with pytest.raises(Unavailable, match=f"listing the Pods of cluster {cluster.name}"):
        cluster.listed()
    assert sum(clock.waits) >= 10
