"""Passes over a cluster in memory: what is emptied and deleted, when, and what two passes at once do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from launcher.errors import ConfigError, NotFound, PermissionDenied, Unavailable
from launcher.fleet.clusters import reap_clusters
from launcher.fleet.reaper import Entry, Report
from launcher.records import codec
from launcher.records.clusters import ClusterFacts, ClusterSettings, ClusterWatch, PodFacts, PoolFacts
from launcher.records.paths import CLUSTERS
from tests.fleet.fakes import fake
from tests.records.store import MemoryStore

WHERE = "us-central1-a"
NAME = f"{WHERE}/tpu"
SETTINGS = ClusterSettings(idle_s=1800.0, delete_idle=True)
POD = PodFacts("default", "train-0", "Pending", True)
V5E = PoolFacts("v5e-4", "RUNNING", "ct5lp-hightpu-4t", "", 0)
V6E = PoolFacts("v6e-8", "RUNNING", "ct6e-standard-4t", "2x4", 0)
SYSTEM = PoolFacts("system", "RUNNING", "e2-standard-2", "", 1)


class Clusters:
    """One cluster. `fails`: what a method raises. `before`: runs when a method is called."""

    def __init__(self) -> None:
        self.cluster: ClusterFacts | None = ClusterFacts(
            "tpu", WHERE, "RUNNING", "7", "gke-1.example", {"launcher-platform": "p"}, (V5E, V6E, SYSTEM)
        )
        self.listed = [PodFacts("kube-system", "kube-dns-1", "Running")]
        self.fails: dict[str, Exception] = {}
        self.done: list[str] = []
        self.before: Callable[[str], None] = lambda method: None

    def _called(self, method: str) -> None:
        self.before(method)
        if method in self.fails:
            raise self.fails[method]

    def get(self, location: str, cluster: str) -> ClusterFacts | None:
        self._called("get")
        assert (location, cluster) == (WHERE, "tpu")
        return self.cluster

    def pods(self, cluster: ClusterFacts) -> tuple[PodFacts, ...]:
        self._called("pods")
        return tuple(self.listed)

    def empty_pool(self, location: str, cluster: str, pool: str) -> None:
        self._called("empty_pool")
        self.done.append(f"empty {location}/{cluster}/{pool}")
        self.size(pool, 0)

    def delete(self, location: str, cluster: str) -> None:
        self._called("delete")
        self.done.append(f"delete {location}/{cluster}")
        self.change(state="STOPPING")

    def change(self, **changes: Any) -> None:
        assert self.cluster is not None
        self.cluster = dataclasses.replace(self.cluster, **changes)

    def size(self, pool: str, nodes: int | None) -> None:
        assert self.cluster is not None
        pools = [dataclasses.replace(each, nodes=nodes) if each.name == pool else each for each in self.cluster.pools]
        self.change(pools=tuple(pools))


class World:
    def __init__(self) -> None:
        self.platform = fake(control_bucket="c").platform
        self.clusters, self.store = Clusters(), MemoryStore()
        vars(self.platform).update(clusters=self.clusters, control_store=self.store)
        self.logged: list[Entry] = []

    def reap(self, settings: ClusterSettings = SETTINGS, **options: Any) -> Report:
        return reap_clusters(self.platform, NAME, settings, log=self.logged.append, **options)

    def acted(self, settings: ClusterSettings = SETTINGS, **options: Any) -> list[str]:
        """What a pass without an error did."""
        report = self.reap(settings, **options)
        assert report.errors == ()
        return [f"{each.action} {each.resource}" for each in report.acted]

    def later(self, minutes: float) -> None:
        self.store.now += 60 * minutes

    @property
    def watch(self) -> ClusterWatch | None:
        stored = self.store.read(CLUSTERS)
        return None if stored is None else codec.decode(ClusterWatch, stored.data)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def stuck(world: World) -> World:
    """Its pool v6e-8 has two nodes that nobody asks for."""
    world.clusters.size("v6e-8", 2)
    return world


def test_a_stuck_pool_is_marked_and_half_an_hour_later_emptied(stuck: World) -> None:
    assert stuck.acted() == ["mark pool tpu/v6e-8"]
    stuck.later(29)
    assert stuck.acted() == []
    stuck.later(1)
    report = stuck.reap()
    assert [(each.action, each.zone, each.resource) for each in report.acted] == [("empty", WHERE, "pool tpu/v6e-8")]
    assert report.acted[0].reason == "2 nodes and no Pod that asks for TPUs for 30 min"
    assert stuck.clusters.done == [f"empty {NAME}/v6e-8"]
    assert [entry["message"] for entry in stuck.logged] == [
        f"mark pool tpu/v6e-8 in {WHERE}: 2 nodes and no Pod that asks for TPUs; it goes in 30 min unless that changes",
        f"empty pool tpu/v6e-8 in {WHERE}: 2 nodes and no Pod that asks for TPUs for 30 min",
    ]
    assert {(entry["severity"], entry["event"]) for entry in stuck.logged} == {("NOTICE", "decision")}


def test_a_pod_between_two_looks_sets_the_time_back(stuck: World) -> None:
    stuck.reap()
    stuck.later(20)
    stuck.clusters.listed.append(POD)
    assert stuck.acted() == []
    stuck.later(20)
    stuck.clusters.listed.remove(POD)
    assert stuck.acted() == ["mark pool tpu/v6e-8"]
    assert stuck.clusters.done == []


def test_an_idle_cluster_is_deleted_at_the_second_of_two_verdicts(world: World) -> None:
    assert world.acted() == ["mark cluster tpu"]
    world.later(30)
    assert world.acted() == ["delete cluster tpu"]
    assert world.clusters.done == [f"delete {NAME}"]
    assert world.acted() == []
    world.clusters.cluster = None
    assert world.acted() == []


def test_a_cluster_stays_where_nobody_opted_in(world: World) -> None:
    for _ in range(3):
        assert world.acted(ClusterSettings(1800.0)) == []
        world.later(60)


def test_a_cluster_goes_only_after_its_pools_were_emptied_for_as_long(stuck: World) -> None:
    done = []
    for _ in range(16):
        done.append(" ".join(stuck.acted()))
        stuck.later(5)
    assert [each for each in done if each] == [
        "mark pool tpu/v6e-8",
        "empty pool tpu/v6e-8",
        "mark cluster tpu",
        "delete cluster tpu",
    ]
    assert [done.index(each) for each in done if each] == [0, 6, 7, 13]


def test_a_dry_run_says_the_same_and_writes_nothing(stuck: World) -> None:
    assert stuck.acted(dry_run=True) == ["mark pool tpu/v6e-8"]
    assert stuck.watch is None
    stuck.later(60)
    assert stuck.acted(dry_run=True) == ["mark pool tpu/v6e-8"]  # nobody wrote down since when
    stuck.reap()
    before = stuck.store.read(CLUSTERS)
    stuck.later(60)
    assert stuck.acted(dry_run=True) == ["empty pool tpu/v6e-8"]
    after = stuck.store.read(CLUSTERS)
    assert before is not None and after is not None and before.generation == after.generation
    assert stuck.clusters.done == []
    assert stuck.logged[-1]["message"] == (
        f"would empty pool tpu/v6e-8 in {WHERE}: 2 nodes and no Pod that asks for TPUs for 60 min"
    )
    assert stuck.acted() == ["empty pool tpu/v6e-8"]


def test_a_pod_that_comes_between_look_and_action_keeps_the_pool(stuck: World) -> None:
    stuck.reap()
    stuck.later(30)
    looks = []

    def pod_comes(method: str) -> None:
        looks.append(method)
        if looks.count("pods") == 2:
            stuck.clusters.listed.append(POD)

    stuck.clusters.before = pod_comes
    report = stuck.reap()
    assert (report.acted, report.errors, stuck.clusters.done) == ((), (), [])
    kept = {each.resource: each.reason for each in report.decisions}
    assert kept["pool tpu/v6e-8"] == "Pod default/train-0 asks for TPUs"


@pytest.mark.parametrize("change", [{"uid": "8"}, {"labels": {}}, {"state": "RECONCILING"}, {"pools": (V5E,)}])
def test_a_cluster_that_changes_between_look_and_action_is_kept(stuck: World, change: dict[str, Any]) -> None:
    stuck.reap()
    stuck.later(30)
    looks = []

    def changes(method: str) -> None:
        looks.append(method)
        if looks.count("get") == 2:
            stuck.clusters.change(**change)

    stuck.clusters.before = changes
    assert stuck.acted() == []
    assert stuck.clusters.done == []


def test_of_two_passes_at_once_one_acts(world: World) -> None:
    world.reap()
    world.later(30)
    inner: list[list[str]] = []

    def another_pass(method: str) -> None:
        world.clusters.before = lambda method: None
        inner.append(world.acted())

    world.clusters.before = another_pass  # the first has read the record, and looks
    report = world.reap()
    assert inner == [["delete cluster tpu"]]
    assert (report.acted, report.errors, world.clusters.done) == ((), (), [f"delete {NAME}"])


def test_a_pass_that_saw_a_pod_wins_over_one_that_did_not(world: World) -> None:
    world.reap()
    world.later(30)

    def another_pass_sees_a_pod(method: str) -> None:
        if method != "pods":
            return
        world.clusters.before = lambda method: None
        world.clusters.listed.append(POD)
        assert world.acted() == []
        world.clusters.listed.remove(POD)  # so that the first pass does not see it

    world.clusters.before = another_pass_sees_a_pod
    report = world.reap()
    assert (report.acted, world.clusters.done) == ((), [])
    assert [each.reason for each in report.decisions] == ["another pass looked at it meanwhile"]


def test_a_lost_answer_of_the_record_s_write_is_not_a_lost_race(world: World) -> None:
    world.store.lose_answers = 1
    assert world.acted() == ["mark cluster tpu"]


def test_what_was_remembered_of_an_earlier_cluster_of_the_name_does_not_count(world: World) -> None:
    world.reap()
    world.later(30)
    world.clusters.change(uid="8")
    assert world.acted() == ["mark cluster tpu"]


def test_a_failed_list_of_pods_keeps_everything_and_is_told(stuck: World) -> None:
    stuck.reap()
    stuck.later(60)
    stuck.clusters.fails["pods"] = Unavailable("listing the Pods: no")
    report = stuck.reap()
    assert report.acted == ()
    assert report.errors == (f"cluster tpu in {WHERE}: nothing counts as idle: listing the Pods: no",)
    assert (stuck.logged[-1]["severity"], stuck.logged[-1]["denied"]) == ("ERROR", False)
    stuck.clusters.fails.clear()
    assert stuck.acted() == ["mark pool tpu/v6e-8"]  # what nobody saw is not idle


@pytest.mark.parametrize("method", ["get", "empty_pool"])
def test_a_call_that_fails_is_told_and_tried_again_by_the_next_pass(stuck: World, method: str) -> None:
    stuck.reap()
    stuck.later(30)
    stuck.clusters.fails[method] = PermissionDenied("403: no")
    report = stuck.reap()
    assert report.acted == () and len(report.errors) == 1 and "403: no" in report.errors[0]
    assert stuck.logged[-1]["event"] == "error" and stuck.logged[-1]["denied"] is True
    stuck.clusters.fails.clear()
    assert stuck.acted() == ["empty pool tpu/v6e-8"]


def test_a_pool_of_unknown_size_keeps_itself_and_the_cluster(world: World) -> None:
    world.clusters.size("v6e-8", None)
    for _ in range(3):
        assert world.acted() == []
        world.later(60)


@pytest.mark.parametrize("labels", [{}, {"launcher-platform": "other"}])
def test_a_cluster_that_does_not_carry_the_label_is_not_touched(stuck: World, labels: dict[str, str]) -> None:
    stuck.clusters.change(labels=labels)
    for _ in range(2):
        report = stuck.reap()
        assert report.decisions == ()
        assert "does not carry the label launcher-platform = p" in report.errors[0]
        stuck.later(60)
    assert (stuck.watch, stuck.clusters.done) == (None, [])


def test_a_record_that_cannot_be_written_stops_the_pass(stuck: World) -> None:
    def refused(name: str, data: bytes, generation: int) -> int | None:
        raise PermissionDenied("403: storage.objects.create")

    stuck.store.replace = refused  # type: ignore[method-assign]
    report = stuck.reap()
    assert report.acted == () and "storage.objects.create" in report.errors[0]


def test_a_damaged_record_stops_the_pass(stuck: World) -> None:
    stuck.store.create(CLUSTERS, b"{}")
    report = stuck.reap()
    assert report.acted == () and "clusters.json in the bucket is damaged" in report.errors[0]


def test_each_of_two_stuck_pools_is_looked_at_again(stuck: World) -> None:
    stuck.clusters.size("v5e-4", 1)
    assert stuck.acted() == ["mark pool tpu/v5e-4", "mark pool tpu/v6e-8"]
    stuck.later(30)
    stuck.clusters.fails["delete"] = NotFound("never called")
    assert stuck.acted() == ["empty pool tpu/v5e-4", "empty pool tpu/v6e-8"]


def test_kept_ones_are_logged_only_when_asked_for(world: World) -> None:
    world.clusters.listed.append(POD)
    world.reap()
    assert world.logged == []
    world.reap(verbose=True)
    assert [entry["severity"] for entry in world.logged] == ["INFO"] * 3


@pytest.mark.parametrize("name", ["", "tpu", "us-central1/", "/tpu", "a/b/c"])
def test_a_name_without_a_location_is_refused(world: World, name: str) -> None:
    with pytest.raises(ConfigError, match="location/name"):
        reap_clusters(world.platform, name, SETTINGS)
