"""A new node: zones in turn, never two at once, and what each of them answered."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.cloud.seams import Endpoint, Node, NodeSpec, QueuedResource
from launcher.errors import (
    ApiDisabled,
    Cancelled,
    CloudError,
    Conflict,
    InvalidRequest,
    LauncherError,
    NotFound,
    OutOfCapacity,
    PermissionDenied,
    Preempted,
    QuotaExceeded,
    Unavailable,
    WorkerLost,
)
from launcher.fleet import lease_book, waiting
from launcher.fleet.acquire import Granted, Try, acquire
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.records.leases import Lease, LeaseState
from launcher.sim import control
from launcher.simulator_process import to_profile
from tests.fleet.fakes import Fake, Nodes, fake

A, B, C = "us-central1-a", "us-east5-a", "us-west4-a"
REQUEST = NodeRequest(
    platform="p",
    owner="ada",
    accelerator="v5litepod-1",
    hosts=1,
    runtime_version="r",
    zones=(A,),
    resource_id=lambda number: f"p-job-{number}",
    labels={"team": "x"},
    job="ada/job/1",
    keep_warm_s=60.0,
    max_lifetime_s=3600.0,
)
STOCK_OUT = ("FAILED", 8, 'There is no more capacity in the zone "x"')
QUOTA = ("FAILED", 8, "Quota 'TPUV5sLitepodPerProjectPerZone' exhausted")
State = tuple[str, int, str]
Plan = Exception | list[str | State]  # what creating says, or the states that follow, one each look; the last stays


class Zones(Nodes):
    """Every creation in a zone takes that zone's next plan; READY at once where there is none."""

    def __init__(self, world: Fake) -> None:
        super().__init__(world.calls)
        self.world = world
        self.plans: dict[str, list[Plan]] = {}
        self.states: dict[str, list[str | State]] = {}
        self.made: list[tuple[str, NodeSpec]] = []
        self.down: set[str] = set()
        self.stays: set[str] = set()  # a deletion has no effect in these zones

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        self._up(zone)
        lease = self.world.store.read(f"leases/{zone}/{spec.queued_resource}.json")
        assert lease is not None and not self.specs, "without a lease, or two at once"
        plan = self.plans[zone].pop(0) if self.plans.get(zone) else ["ACTIVE"]
        if isinstance(plan, Exception):
            raise plan
        self.states[spec.queued_resource] = list(plan)
        self.made.append((zone, spec))
        super().create_queued_resource(zone, spec)

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None:
        self._up(zone)
        if queued_resource not in self.specs:
            return None
        states = self.states[queued_resource]
        state = states.pop(0) if len(states) > 1 else states[0]
        name, code, reason = (state, 0, "") if isinstance(state, str) else state
        return QueuedResource(queued_resource, name, reason, code)

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        self._up(zone)
        if zone not in self.stays:
            super().delete_queued_resource(zone, queued_resource)

    def _up(self, zone: str) -> None:
        if zone in self.down:
            raise Unavailable(f"{zone} does not answer")


class Told:
    """Progress that is remembered."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waiting = False

    def phase(self, name: str, detail: str = "") -> None:
        if name == "wait":
            self.lines.append(detail)
        self.waiting = name == "wait"

    def log(self, data: bytes, worker: int = 0) -> None: ...

    def notice(self, line: str) -> None: ...


class World:
    def __init__(self) -> None:
        self.fake = fake()
        self.nodes = Zones(self.fake)
        self.platform: Platform = self.fake.platform
        vars(self.platform)["nodes"] = self.nodes
        self.tries: list[Try] = []
        self.told = Told()
        self.cancel = threading.Event()
        self.still_wanted: Callable[[], None] = lambda: None

    def acquire(self, **changes: Any) -> Granted:
        request = dataclasses.replace(REQUEST, **changes)
        granted = acquire(
            self.platform, request, "me", self.told, self.cancel, self.on_try, lambda: self.still_wanted()
        )
        granted.close()
        assert not self.told.waiting
        return granted

    def on_try(self, one: Try) -> None:
        assert lease_book.read(self.fake.store, one.zone, one.queued_resource) is None
        assert all(self.lease(each).state is LeaseState.CONDEMNED for each in self.tries)
        self.tries.append(one)

    def lease(self, one: Try) -> Lease:
        found = lease_book.read(self.fake.store, one.zone, one.queued_resource)
        assert found is not None
        return found[0]

    @property
    def places(self) -> list[tuple[str, bool]]:
        return [(one.zone, one.spot) for one in self.tries]


@pytest.fixture
def world() -> World:
    return World()


# --- one zone -----------------------------------------------------------------------------------------------


def test_a_node_comes_ready_with_a_lease_that_tells_all_about_it(world: World) -> None:
    granted = world.acquire(spot=True)
    assert granted.node == Node("p-job-1-0", "READY", granted.node.endpoints, **_rest(granted.node))
    one = world.tries[0]
    assert granted.try_ == one == Try(1, A, "p-job-1", "p-job-1-0", True, one.why)
    lease = world.lease(one)
    assert (lease.state, lease.holder, lease.writer) == (LeaseState.RESERVED, "me", "client")
    assert (lease.accelerator, lease.spot, lease.runtime_version) == ("v5litepod-1", True, "r")
    assert (lease.labels, lease.job) == ({"team": "x"}, "ada/job/1")
    assert (lease.keep_warm_s, lease.max_lifetime_s) == (60.0, 3600.0)
    assert lease.usd_per_hour and lease.owner == "ada" and lease.platform == "p"


def _rest(node: Node) -> dict[str, Any]:
    fields = dataclasses.asdict(node)
    return {name: getattr(node, name) for name in fields if name not in ("name", "state", "endpoints")}


def test_what_is_asked_for(world: World) -> None:
    world.acquire(reservation="mine")
    zone, spec = world.nodes.made[0]
    assert (zone, spec.accelerator, spec.runtime_version, spec.reservation) == (A, "v5litepod-1", "r", "mine")
    assert spec.labels == {"team": "x", "launcher-platform": "p", "launcher-owner": "ada"}
    assert "startup-script" in spec.metadata and spec.valid_for_s == 24 * 3600


@pytest.mark.parametrize(
    "profile, external",
    [
        ({"connect": "iap", "network": "tpu"}, True),
        ({"connect": "iap", "network": "tpu", "external_ip": False}, False),
        ({"connect": "iap"}, False),
        ({"connect": "internal"}, False),
        ({"connect": "external"}, True),
    ],
)
def test_a_node_on_googles_default_network_has_an_address_only_for_who_connects_by_it(
    world: World, profile: dict[str, Any], external: bool
) -> None:
    """Its firewall lets everybody try SSH."""
    world.platform.profile = dataclasses.replace(world.platform.profile, **profile)
    world.acquire()
    assert world.nodes.made[0][1].external_ip is external


@pytest.mark.parametrize("limit_s, valid_s", [(600.0, 600.0), (5.0, 60.0), (1e6, 24 * 3600.0)])
def test_a_request_that_waits_expires_by_itself(world: World, limit_s: float, valid_s: float) -> None:
    world.acquire(wait_timeout_s=limit_s)
    assert world.nodes.made[0][1].valid_for_s == valid_s


def test_nothing_is_asked_for_once_nobody_wants_it(world: World) -> None:
    def unwanted() -> None:
        assert world.lease(world.tries[0]).state is LeaseState.RESERVED
        raise Cancelled("it had ended")

    world.still_wanted = unwanted
    with pytest.raises(Cancelled, match="it had ended"):
        world.acquire()
    assert world.nodes.made == []


def test_each_change_is_told_in_words(world: World) -> None:
    world.nodes.plans = {A: [["ACCEPTED", *["WAITING_FOR_RESOURCES"] * 5, "PROVISIONING", "PROVISIONING", "ACTIVE"]]}
    world.acquire()
    assert world.told.lines == [
        f"{A}: asking for v5litepod-1",
        f"{A}: queued: waiting for free hardware (WAITING_FOR_RESOURCES)",
        f"{A}: hardware found, starting the workers (PROVISIONING)",
    ]


def test_the_reason_is_told_with_the_state(world: World) -> None:
    world.nodes.plans = {A: [[*[("WAITING_FOR_RESOURCES", 0, "behind 3 others")] * 4, "ACTIVE"]]}
    world.acquire()
    assert world.told.lines[1] == f"{A}: queued: waiting for free hardware (WAITING_FOR_RESOURCES): behind 3 others"


@pytest.mark.parametrize(
    "plan, kind, words",
    [
        (["CREATING", STOCK_OUT], OutOfCapacity, ["no more capacity", "zone=[", "later"]),
        (["CREATING", QUOTA], QuotaExceeded, ["TPUV5sLitepodPerProjectPerZone", "iam-admin/quotas?project=project"]),
        (["CREATING", ("FAILED", 7, "no")], PermissionDenied, ["launcher doctor"]),
        (["CREATING", ("FAILED", 7, "SERVICE_DISABLED")], ApiDisabled, ["gcloud services enable tpu.googleapis.com"]),
        (["CREATING", ("FAILED", 3, "bad")], InvalidRequest, ["accelerator-types list --zone us-central1-a"]),
        (["CREATING", ("FAILED", 0, "")], CloudError, ["no reason given"]),
        (["CREATING", "SUSPENDED"], Preempted, ["Google took the hardware back"]),
        (["CREATING", "DELETING"], WorkerLost, ["somebody else"]),
        (InvalidRequest("bad accelerator."), InvalidRequest, ["bad accelerator. What the zone offers: gcloud"]),
        (QuotaExceeded("as Google said"), QuotaExceeded, ["as Google said"]),
    ],
)
def test_a_single_zones_answer_is_the_error(world: World, plan: Plan, kind: type[Exception], words: list[str]) -> None:
    world.nodes.plans = {A: [plan]}
    with pytest.raises(kind) as caught:
        world.acquire()
    assert type(caught.value) is kind and all(each in str(caught.value) for each in words)
    assert world.lease(world.tries[0]).state is LeaseState.RESERVED  # the caller's to release
    assert len(world.tries) == 1


@pytest.mark.parametrize("state", [name for name, (what, _) in waiting.NODE_STATES.items() if what == waiting.FAIL])
def test_a_node_that_will_never_be_ready_ends_the_wait(world: World, state: str) -> None:
    world.nodes.node_state = state
    with pytest.raises(Preempted if state in ("PREEMPTED", "TERMINATED") else WorkerLost, match=state):
        world.acquire()


@pytest.mark.parametrize("state", [name for name, (what, _) in waiting.NODE_STATES.items() if what == waiting.WAIT])
def test_a_node_that_is_not_ready_has_fifteen_minutes(world: World, state: str) -> None:
    world.nodes.node_state = state
    with pytest.raises(Unavailable, match=rf"getting the node ready .* more than 15 min.*\({state}\)"):
        world.acquire()
    assert 900 <= world.fake.clock.now < 930


def test_starting_the_workers_has_twenty_minutes_of_its_own(world: World) -> None:
    world.nodes.plans = {A: [[*["WAITING_FOR_RESOURCES"] * 400, "PROVISIONING"]]}
    with pytest.raises(Unavailable, match=r"starting the workers .* took more than 20 min"):
        world.acquire()
    assert world.fake.clock.now > 1200 + 400


def test_a_queue_has_its_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.fleet.acquire.QUEUE_FOR_S", 1800.0)  # else thousands of looks
    world.nodes.plans = {A: [["WAITING_FOR_RESOURCES"]]}
    with pytest.raises(OutOfCapacity, match="in the queue; last state: queued"):
        world.acquire()
    assert 1800 <= world.fake.clock.now < 1810


def test_a_request_that_was_accepted_and_is_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.nodes, "get_queued_resource", lambda zone, name: None)
    with pytest.raises(WorkerLost, match="was accepted in us-central1-a and is not there after 60 s"):
        world.acquire()


def test_a_lease_that_was_taken_away_ends_the_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def queued(zone: str, name: str) -> QueuedResource:
        if world.fake.clock.now > 100:
            lease_book.condemn(world.fake.store, zone, name, "by the reaper", by="me")
        return QueuedResource(name, "WAITING_FOR_RESOURCES")

    monkeypatch.setattr(world.nodes, "get_queued_resource", queued)
    with pytest.raises(WorkerLost, match="taken away while waiting"):
        world.acquire()


def test_another_number_of_workers_than_the_accelerator_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    two = (Endpoint("127.0.0.1"), Endpoint("127.0.0.2"))
    monkeypatch.setattr(world.nodes, "get_node", lambda zone, name: Node(name, "READY", two))
    with pytest.raises(WorkerLost, match="has 2 workers, v5litepod-1 should have 1"):
        world.acquire()


def test_a_cancel_ends_the_wait(world: World) -> None:
    world.nodes.plans = {A: [["WAITING_FOR_RESOURCES"]]}
    world.nodes.creating = world.cancel.set
    with pytest.raises(Cancelled):
        world.acquire(zones=(A, B))
    assert world.places == [(A, False)] and world.nodes.specs and not world.told.waiting


# --- several ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan, short",
    [
        (["CREATING", STOCK_OUT], "no capacity"),
        (["CREATING", QUOTA], "no quota"),
        (["CREATING", "SUSPENDING"], "taken back"),
        (["CREATING", ("FAILED", 13, "internal")], "no answer"),
        (["CREATING", ("FAILED", 0, "")], "failed"),
        (OutOfCapacity("x"), "no capacity"),
        (QuotaExceeded("x"), "no quota"),
        (PermissionDenied("x"), "not permitted"),
        (InvalidRequest("not offered there"), "request refused"),
        (NotFound("no such zone"), "not found"),
    ],
)
def test_the_next_zone_is_tried_when_the_first_is_gone(world: World, plan: Plan, short: str) -> None:
    world.nodes.plans = {A: [plan], B: [["CREATING", "WAITING_FOR_RESOURCES", "ACTIVE"]]}
    granted = world.acquire(zones=(A, B))
    assert granted.lease.zone == B and granted.try_.number == 2 and granted.left == ()
    assert [one.queued_resource for one in world.tries] == ["p-job-1", "p-job-2"]
    assert world.tries[1].why == f"{A}: {short}"
    assert world.told.lines[-1] == (
        f"{B}: queued: waiting for free hardware (WAITING_FOR_RESOURCES); tried {A}: {short}"
    )
    assert list(world.nodes.specs) == ["p-job-2"]
    assert world.lease(world.tries[0]).state is LeaseState.CONDEMNED


def test_spot_everywhere_before_on_demand(world: World) -> None:
    stock_out: Plan = ["CREATING", STOCK_OUT]
    world.nodes.plans = {A: [stock_out, stock_out], B: [stock_out]}
    granted = world.acquire(zones=(A, B), spot=True, spot_fallback=True)
    assert world.places == [(A, True), (B, True), (A, False), (B, False)]
    assert not granted.lease.spot and not world.nodes.made[-1][1].spot
    assert f"tried {A} (spot): no capacity, {B} (spot): no capacity, {A} (on demand)" in world.told.lines[-1]


def test_after_the_last_zone_the_error_says_what_each_answered(world: World) -> None:
    world.nodes.plans = {
        A: [["CREATING", STOCK_OUT]],
        B: [["CREATING", QUOTA]],
        C: [PermissionDenied("lacks x. Run y")],
    }
    with pytest.raises(OutOfCapacity) as caught:
        world.acquire(zones=(A, B, C))
    first, *lines = str(caught.value).splitlines()
    assert "no v5litepod-1" in first
    for line, zone, words in zip(lines, (A, B, C), ("no more capacity", "iam-admin/quotas", "Run y"), strict=True):
        assert line.strip().startswith(f"{zone}: ") and words in line
    assert world.lease(world.tries[2]).state is LeaseState.RESERVED  # the caller's to release


@pytest.mark.parametrize(
    "answers, kind",
    [
        ([InvalidRequest("x"), QuotaExceeded("y")], QuotaExceeded),
        ([QuotaExceeded("y"), InvalidRequest("x")], QuotaExceeded),
        ([InvalidRequest("x"), PermissionDenied("y")], PermissionDenied),
    ],
)
def test_the_class_is_that_of_the_answer_that_helps(
    world: World, answers: list[Exception], kind: type[Exception]
) -> None:
    world.nodes.plans = {A: [answers[0]], B: [answers[1]]}
    with pytest.raises(kind):
        world.acquire(zones=(A, B))


def no_login() -> PermissionDenied:
    error = PermissionDenied("Run: gcloud auth application-default login")
    error.credentials = True
    return error


@pytest.mark.parametrize("error", [ApiDisabled("enable it"), no_login(), WorkerLost("a bug")])
def test_what_is_the_same_everywhere_is_asked_once(world: World, error: LauncherError) -> None:
    world.nodes.plans = {A: [error]}
    with pytest.raises(type(error), match=str(error)):
        world.acquire(zones=(A, B))
    assert world.places == [(A, False)]


def test_the_zones_share_the_time(world: World) -> None:
    world.nodes.plans = {A: [["WAITING_FOR_RESOURCES"]], B: [["WAITING_FOR_RESOURCES"]]}
    with pytest.raises(OutOfCapacity, match=rf"(?s){A}: no .* 300 s in the queue.*{B}: no"):
        world.acquire(zones=(A, B), wait_timeout_s=600.0)
    assert [spec.valid_for_s for _, spec in world.nodes.made] == [300.0, pytest.approx(300.0, abs=10)]
    assert 600 <= world.fake.clock.now < 610


def test_no_zone_is_asked_after_the_deadline(world: World) -> None:
    world.nodes.plans = {A: [["PROVISIONING"]]}
    with pytest.raises(OutOfCapacity, match="PROVISIONING"):
        world.acquire(zones=(A, B), wait_timeout_s=600.0)
    assert world.places == [(A, False)]


def test_a_zone_that_is_down_gives_way_and_is_condemned(world: World) -> None:
    world.nodes.down = {A}
    granted = world.acquire(zones=(A, B))
    assert granted.lease.zone == B and granted.left == (world.tries[0],)
    assert 60 <= world.fake.clock.now < 120
    assert f"{A} does not answer" in world.told.lines[1]


def test_the_last_zone_may_be_down_for_as_long_as_there_is_time(world: World) -> None:
    world.nodes.down = {B}
    world.nodes.plans = {A: [["CREATING", STOCK_OUT]]}
    with pytest.raises(OutOfCapacity, match=rf"(?s){A}: .*capacity.*{B}: {B} does not answer"):
        world.acquire(zones=(A, B), wait_timeout_s=1000.0)
    assert world.fake.clock.now >= 1000


def test_an_answer_that_was_lost_is_found_and_deleted_before_the_next_zone(world: World) -> None:
    real = world.nodes.create_queued_resource

    def lossy(zone: str, spec: NodeSpec) -> None:
        if zone == A:
            if not world.nodes.specs:
                real(zone, spec)
            raise Unavailable("lost")
        real(zone, spec)

    world.nodes.create_queued_resource = lossy  # type: ignore[method-assign]
    granted = world.acquire(zones=(A, B))
    assert granted.lease.zone == B and granted.left == () and list(world.nodes.specs) == ["p-job-2"]


def test_a_request_of_ours_that_was_heard_is_waited_for(world: World) -> None:
    real = world.nodes.create_queued_resource

    def twice(zone: str, spec: NodeSpec) -> None:
        real(zone, spec)
        raise Conflict("it exists")

    world.nodes.create_queued_resource = twice  # type: ignore[method-assign]
    assert world.acquire().node.name == "p-job-1-0"


def test_what_is_not_gone_is_not_replaced(world: World) -> None:
    world.nodes.plans = {A: [["CREATING", STOCK_OUT]]}
    world.nodes.stays = {A}
    with pytest.raises(Unavailable, match="p-job-1 in us-central1-a is still being deleted after 10 min"):
        world.acquire(zones=(A, B))
    assert world.places == [(A, False)]
    assert world.lease(world.tries[0]).state is LeaseState.CONDEMNED


def test_a_cancel_ends_a_deletion_that_takes_long(world: World) -> None:
    world.nodes.plans = {A: [["CREATING", STOCK_OUT]]}
    world.nodes.stays = {A}
    world.nodes.creating = world.cancel.set
    with pytest.raises(Cancelled):
        world.acquire(zones=(A, B))
    assert world.fake.clock.now < 30


# --- on the simulator ---------------------------------------------------------------------------------------


class Cloud:
    """Nodes of one simulator, asked for by the launcher's own seams."""

    def __init__(self, folder: Path) -> None:
        status = control.status(folder)
        assert status is not None
        self.folder = folder
        self.platform = Platform(to_profile(status))
        self.tries: list[Try] = []
        self.told = Told()

    def acquire(self, test: str, **changes: Any) -> Granted:
        name = self.platform.profile.platform
        request = dataclasses.replace(
            REQUEST,
            platform=name,
            runtime_version="v2-alpha-tpuv5-lite",
            resource_id=lambda number: f"{name}-{test}-{number}",
            **changes,
        )
        return acquire(self.platform, request, "me", self.told, threading.Event(), self.tries.append, lambda: None)

    def present(self) -> list[str]:
        return [each.name for zone in (A, B, C) for each in self.platform.nodes.list_queued_resources(zone)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("simulator")
    control.start(folder)
    yield folder
    control.stop(folder)


@pytest.fixture
def cloud(simulated: Path) -> Iterator[Cloud]:
    cloud = Cloud(simulated)
    yield cloud
    for one in cloud.tries:
        assert release(cloud.platform, one.zone, one.queued_resource, by="me", reason="test", timeout_s=60.0)


def test_a_stock_out_of_one_zone_leaves_one_node_in_the_next(cloud: Cloud) -> None:
    control.inject("stockout", zone=A, folder=cloud.folder)
    granted = cloud.acquire("next", zones=(A, B, C))  # B has none of these at all
    granted.close()
    assert granted.lease.zone == C and granted.node.state == "READY"
    assert cloud.present() == [cloud.tries[2].queued_resource]
    assert cloud.told.lines[-1].endswith(f"; tried {A}: no capacity, {B}: request refused")


def test_every_zone_and_market_answers(cloud: Cloud) -> None:
    control.inject("stockout", zone=A, count=2, folder=cloud.folder)
    control.inject("quota", zone=C, value="create", folder=cloud.folder)
    control.inject("quota", zone=C, value="failed", folder=cloud.folder)
    with pytest.raises(OutOfCapacity) as caught:
        cloud.acquire("all", zones=(A, C), spot=True, spot_fallback=True)
    assert isinstance(caught.value.__cause__, QuotaExceeded)
    _, *lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines] == [
        *(f"{A} (spot)", f"{C} (spot)", f"{A} (on demand)", f"{C} (on demand)")
    ]
    assert all("capacity" in line for line in lines[::2]) and all("iam-admin/quotas" in line for line in lines[1::2])


def test_a_request_that_is_suspended_is_replaced(cloud: Cloud) -> None:
    control.inject("suspended", zone=A, folder=cloud.folder)
    granted = cloud.acquire("suspended", zones=(A, C))
    granted.close()
    assert cloud.tries[1].why == f"{A}: taken back" and cloud.present() == [cloud.tries[1].queued_resource]


def test_a_zone_where_nothing_is_allowed_gives_way(cloud: Cloud) -> None:
    control.inject("forbidden", zone=A, folder=cloud.folder)
    try:
        granted = cloud.acquire("forbidden", zones=(A, C))
        granted.close()
    finally:
        control.inject("forbidden", zone=A, off=True, folder=cloud.folder)
    assert granted.lease.zone == C and granted.left == ()


def test_the_simulator_gives_up_what_waits_for_too_long(cloud: Cloud) -> None:
    control.inject("slow-operation", zone=A, value="60", folder=cloud.folder)
    with pytest.raises(OutOfCapacity, match=r"within wait_timeout_s; last state: .*PROVISIONING"):
        cloud.acquire("slow", wait_timeout_s=1.0)
