"""The whole table: every state of a cluster and of a node pool, with what may be in them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from launcher.records import codec
from launcher.records.clusters import (
    ClusterFacts,
    ClusterSettings,
    ClusterWatch,
    Idle,
    PodFacts,
    PoolFacts,
    cluster_verdict,
    is_ours,
    pool_verdict,
)
from launcher.records.policy import Keep

NOW = 1_900_000_000.0
SETTINGS = ClusterSettings(idle_s=1800.0, delete_idle=True)
LONG_AGO = NOW - 1800

# What GKE's API can say, whether a pool in such a cluster is judged, and whether such a cluster may be deleted.
CLUSTER_STATES = {
    "STATUS_UNSPECIFIED": (False, False),
    "PROVISIONING": (False, False),
    "RUNNING": (True, True),
    "RECONCILING": (False, False),
    "STOPPING": (False, False),
    "ERROR": (True, False),
    "DEGRADED": (True, False),
    "A_STATE_OF_NEXT_YEAR": (False, False),
}
# Whether such a pool is judged, and whether a cluster may be deleted that has it, without nodes.
POOL_STATES = {
    "STATUS_UNSPECIFIED": False,
    "PROVISIONING": False,
    "RUNNING": True,
    "RUNNING_WITH_ERROR": True,
    "RECONCILING": False,
    "STOPPING": False,
    "ERROR": True,
    "A_STATE_OF_NEXT_YEAR": False,
}
POOL = PoolFacts("v6e-8", "RUNNING", "ct6e-standard-4t", "2x4", 2)
EMPTY = dataclasses.replace(POOL, nodes=0)
SYSTEM = PoolFacts("system", "RUNNING", "e2-standard-2", "", 1)
CLUSTER = ClusterFacts("tpu", "us-central1-a", "RUNNING", pools=(EMPTY, SYSTEM))
DNS = PodFacts("kube-system", "kube-dns-1", "Running")


def tpu_pod(phase: str = "Running", namespace: str = "default", **selector: str) -> PodFacts:
    labels = {f"cloud.google.com/gke-{name.replace('_', '-')}": value for name, value in selector.items()}
    return PodFacts(namespace, "train-0", phase, True, labels)


def with_pool(**changes: object) -> ClusterFacts:
    return dataclasses.replace(CLUSTER, pools=(dataclasses.replace(EMPTY, **changes), SYSTEM))  # type: ignore[arg-type]


def test_a_pool_is_emptied_only_in_settled_states_of_pool_and_cluster() -> None:
    for (cluster, (judged, _)), (pool, settled) in itertools.product(CLUSTER_STATES.items(), POOL_STATES.items()):
        facts = dataclasses.replace(CLUSTER, state=cluster)
        found = pool_verdict(facts, dataclasses.replace(POOL, state=pool), [DNS], LONG_AGO, NOW, SETTINGS)
        assert isinstance(found, Idle) == (judged and settled), (cluster, pool, found)


def test_a_cluster_is_deleted_only_while_it_runs_and_its_pools_are_settled() -> None:
    for (cluster, (_, may_go)), (pool, settled) in itertools.product(CLUSTER_STATES.items(), POOL_STATES.items()):
        facts = dataclasses.replace(with_pool(state=pool), state=cluster)
        found = cluster_verdict(facts, [DNS], LONG_AGO, NOW, SETTINGS)
        assert isinstance(found, Idle) == (may_go and settled), (cluster, pool, found)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"nodes": None}, "how many nodes it has is not known"),
        ({"nodes": 0}, "it has no nodes"),
        ({"machine_type": "e2-standard-2"}, "it has no TPUs"),
        ({"machine_type": "c4-standard-4"}, "it has no TPUs"),
        ({"machine_type": ""}, "it has no TPUs"),
    ],
)
def test_a_pool_without_known_tpu_nodes_is_kept(changes: dict[str, object], reason: str) -> None:
    pool = dataclasses.replace(POOL, **changes)  # type: ignore[arg-type]
    assert pool_verdict(CLUSTER, pool, [], LONG_AGO, NOW, SETTINGS) == Keep(reason)


def test_pods_that_could_not_be_listed_keep_everything() -> None:
    assert pool_verdict(CLUSTER, POOL, None, LONG_AGO, NOW, SETTINGS) == Keep("the cluster's Pods are not known")
    assert cluster_verdict(CLUSTER, None, LONG_AGO, NOW, SETTINGS) == Keep("the cluster's Pods are not known")


@pytest.mark.parametrize(
    "pod, keeps",
    [
        (tpu_pod(), True),
        (tpu_pod("Pending"), True),
        (tpu_pod("Unknown"), True),
        (tpu_pod("Succeeded"), False),
        (tpu_pod("Failed"), False),
        (tpu_pod(namespace="kube-system"), True),
        (PodFacts("default", "web", "Running"), False),
        (tpu_pod(tpu_accelerator="tpu-v6e-slice", tpu_topology="2x4"), True),
        (tpu_pod(tpu_accelerator="tpu-v5p-slice"), False),
        (tpu_pod(tpu_accelerator="tpu-v6e-slice", tpu_topology="4x4"), False),
        (tpu_pod(nodepool="v6e-8"), True),
        (tpu_pod(nodepool="v6e-8-spot"), False),
        (tpu_pod(spot="true"), True),
    ],
)
def test_a_pod_that_may_use_the_pool_keeps_it(pod: PodFacts, keeps: bool) -> None:
    found = pool_verdict(CLUSTER, POOL, [DNS, pod], LONG_AGO, NOW, SETTINGS)
    assert isinstance(found, Keep) == keeps
    assert not keeps or found == Keep(f"Pod {pod.namespace}/{pod.name} asks for TPUs")


def test_what_google_does_not_tell_of_a_pool_excludes_no_pod() -> None:
    pool = dataclasses.replace(POOL, topology="", machine_type="ct9-new-4t")
    pod = tpu_pod(tpu_accelerator="tpu-v9-slice", tpu_topology="2x2")
    assert isinstance(pool_verdict(CLUSTER, pool, [pod], LONG_AGO, NOW, SETTINGS), Keep)


def test_a_pool_goes_once_it_was_idle_for_long_enough() -> None:
    def judge(since: float) -> Keep | Idle:
        return pool_verdict(CLUSTER, POOL, [DNS], since, NOW, SETTINGS)

    what = "2 nodes and no Pod that asks for TPUs"
    assert judge(0.0) == Idle(f"{what}; it goes in 30 min unless that changes", NOW, False)
    assert judge(LONG_AGO + 1) == Idle(f"{what} for 30 min", LONG_AGO + 1, False)
    assert judge(LONG_AGO) == Idle(f"{what} for 30 min", LONG_AGO, True)


def test_a_cluster_goes_once_it_was_idle_for_long_enough_and_never_at_the_first_look() -> None:
    def judge(since: float, settings: ClusterSettings = SETTINGS) -> Keep | Idle:
        return cluster_verdict(CLUSTER, [DNS], since, NOW, settings)

    assert judge(0.0) == Idle("no TPU node and no Pod of a user; it goes in 30 min unless that changes", NOW, False)
    assert judge(LONG_AGO + 1) == Idle("no TPU node and no Pod of a user for 30 min", LONG_AGO + 1, False)
    assert judge(LONG_AGO) == Idle("no TPU node and no Pod of a user for 30 min", LONG_AGO, True)
    assert judge(0.0, ClusterSettings(0.0, True)) == Idle(
        "no TPU node and no Pod of a user; it goes in 0 min unless that changes", NOW, False
    )


def test_a_cluster_is_kept_unless_somebody_opted_in() -> None:
    assert ClusterSettings().delete_idle is False
    assert isinstance(cluster_verdict(CLUSTER, [], LONG_AGO, NOW, ClusterSettings(1800.0)), Keep)


@pytest.mark.parametrize("nodes", [1, 2, None])
def test_a_cluster_with_tpu_nodes_is_kept(nodes: int | None) -> None:
    assert isinstance(cluster_verdict(with_pool(nodes=nodes), [], LONG_AGO, NOW, SETTINGS), Keep)


@pytest.mark.parametrize(
    "pod, keeps",
    [
        (PodFacts("default", "web-0", "Running"), True),
        (PodFacts("default", "web-0", "Pending"), True),
        (PodFacts("default", "web-0", "Succeeded"), True),  # its log may still be wanted
        (PodFacts("kueue-system", "controller", "Running"), True),
        (PodFacts("kube-systems", "x", "Running"), True),
        (PodFacts("my-gke-team", "x", "Running"), True),
        (PodFacts("kube-system", "x", "Pending"), False),
        (PodFacts("kube-public", "x", "Running"), False),
        (PodFacts("kube-node-lease", "x", "Running"), False),
        (PodFacts("gmp-system", "x", "Running"), False),
        (PodFacts("gmp-public", "x", "Running"), False),
        (PodFacts("gke-managed-system", "x", "Running"), False),
        (tpu_pod(namespace="kube-system"), True),
    ],
)
def test_a_pod_of_a_user_keeps_the_cluster(pod: PodFacts, keeps: bool) -> None:
    found = cluster_verdict(CLUSTER, [DNS, pod], LONG_AGO, NOW, SETTINGS)
    assert isinstance(found, Keep) == keeps
    assert not keeps or f"{pod.namespace}/{pod.name} is there ({pod.phase})" in found.reason


def test_only_a_cluster_with_this_platform_s_label_is_ours() -> None:
    def labelled(**labels: str) -> ClusterFacts:
        return dataclasses.replace(CLUSTER, labels={name.replace("_", "-"): value for name, value in labels.items()})

    assert is_ours(labelled(launcher_platform="p", team="x"), "p")
    assert not any(
        is_ours(each, "p") for each in (labelled(), labelled(launcher_platform="p2"), labelled(platform="p"))
    )


def test_the_record_survives_a_round_trip_and_newer_keys() -> None:
    watch = ClusterWatch("us-central1-a/tpu", "7", 5.0, {"v6e-8": 6.0})
    data = codec.encode(watch)
    assert codec.decode(ClusterWatch, data[:-1] + b',"later":1}') == watch
    assert (watch.since(""), watch.since("v6e-8"), watch.since("other")) == (5.0, 6.0, 0.0)
