"""Nodes that Terraform made: used by what they are called and by what they are, and gone when nobody uses them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from launcher import cancelling
from launcher.cloud.seams import Node, NodeSpec, QueuedResource
from launcher.errors import Conflict, PermissionDenied, WorkerLost
from launcher.fleet import inventory, lease_book, pool, reaper
from launcher.fleet.doctor import Verdict, examine
from launcher.fleet.pool import Taken
from launcher.fleet.reaper import Entry, Report
from launcher.fleet.release import release
from launcher.fleet.removal import delete_node
from launcher.fleet.session import Sessions
from launcher.records import codec, paths
from launcher.records.jobs import JobStatus
from launcher.records.leases import TTL_S, Lease, LeaseState
from launcher.records.paths import PLATFORM
from launcher.records.policy import PolicySettings
from tests.fleet.fakes import ZONE, Fake, fake
from tests.fleet.many import Fleet
from tests.fleet.platforms import OTHER_ZONE, give_file
from tests.fleet.test_pool import REQUEST, named, warm
from tests.fleet.test_reuse import engine, held, world  # noqa: F401  # a fixture

HOUR = 3600.0
DEV: dict[str, Any] = {
    "node": "p-dev-0",
    "queued_resource": "p-dev",
    "zone": ZONE,
    "accelerator": "v5litepod-1",
    "runtime_version": "r",
    "keep_warm_s": 1200,
    "max_lifetime_s": 7200,
}


def standing(created: float | None = None, **facts: Any) -> Fake:
    """A platform with one READY node of Terraform's, without labels, metadata or lease."""
    found = fake(control_bucket="c")
    give_file(found, nodes=[{**DEV, **facts}])
    make(found, created)
    return found


def make(found: Fake, created: float | None = None) -> None:
    spec = NodeSpec("p-dev", "p-dev-0", "v5litepod-1", "r", {}, {})
    found.nodes.specs["p-dev"], found.nodes.metadata["p-dev-0"] = spec, {}
    at, real = found.store.now if created is None else created, type(found.nodes)._node

    def node(each: NodeSpec) -> Node:
        return dataclasses.replace(real(found.nodes, each), create_time=at)

    found.nodes._node = node  # type: ignore[method-assign]


def find(found: Fake, holder: str = "me", **changes: Any) -> Taken | None:
    return pool.find_standing(found.platform, dataclasses.replace(REQUEST, **changes), holder)


def lease(found: Fake) -> Lease:
    read = lease_book.read(found.store, ZONE, "p-dev")
    assert read is not None
    return read[0]


# --- used ---------------------------------------------------------------------------------------------------


def test_its_first_lease_is_the_launchers_with_what_terraform_says() -> None:
    found = standing()
    taken = find(found)
    assert taken is not None and taken.node.name == "p-dev-0" and taken.lease == lease(found)
    assert (taken.lease.state, taken.lease.holder) == (LeaseState.HELD, "me")
    assert (taken.lease.external, taken.lease.standing) == (False, True)
    assert (taken.lease.keep_warm_s, taken.lease.max_lifetime_s) == (1200.0, 7200.0)
    assert taken.lease.usd_per_hour == 1.2
    assert find(found, "other") is None


@pytest.mark.parametrize("changes", [{}, {"spot": True}, {"owner": "bob"}, {"zones": (OTHER_ZONE, ZONE)}])
def test_whom_it_fits_and_whom_its_session_fits_then(changes: dict[str, Any]) -> None:
    found = standing()
    taken = find(found)
    assert taken is not None
    assert pool.fits(taken.lease, dataclasses.replace(REQUEST, pools=("a",), **changes))
    assert find(standing(), **changes) is not None


@pytest.mark.parametrize(
    "changes",
    [
        *({"accelerator": "v5litepod-8"}, {"zones": (OTHER_ZONE,)}, {"runtime_version": "x"}, {"labels": {"a": "b"}}),
        *({"reservation": "r"}, {"need_s": 7200.0}),
    ],
)
def test_whom_it_does_not_fit(changes: dict[str, Any]) -> None:
    found = standing()
    assert find(found, **changes) is None
    assert lease_book.read(found.store, ZONE, "p-dev") is None


def test_a_spot_node_is_not_for_who_wants_none() -> None:
    assert find(standing(spot=True)) is None


@pytest.mark.parametrize("name", ["p-dev-0", "p-dev", "dev"])
def test_it_is_named_by_its_node_its_queued_resource_or_its_key(name: str) -> None:
    found = standing()
    taken = named(found, name)
    assert taken.lease.resource == "p-dev" and taken.lease.standing and not taken.lease.external


def test_a_second_call_by_its_key_goes_on_in_the_same_session(world: Fake) -> None:  # noqa: F811
    object.__setattr__(world.platform.profile, "control_bucket", "c")
    give_file(world, nodes=[DEV])
    make(world)
    sessions = Sessions()
    assert engine(world, world.job(node="dev"), sessions).run().status is JobStatus.SUCCEEDED
    before = lease(world)
    assert engine(world, world.job(node="dev"), sessions).run().status is JobStatus.SUCCEEDED
    assert lease(world) == before


def test_what_was_somebodys_own_before_it_was_registered_becomes_the_platforms() -> None:
    found = standing()
    give_file(found)
    before = named(found, "p-dev-0").lease
    assert before.external
    pool.give_back(found.platform, before, "me")
    give_file(found, nodes=[DEV])
    found.clock.now += 1000
    taken = find(found)
    assert taken is not None and not taken.lease.external and taken.lease.max_lifetime_s == 7200.0


@pytest.mark.parametrize("state", [LeaseState.CONDEMNED, LeaseState.WARM, LeaseState.HELD])
def test_a_lease_of_the_node_before_it_does_not_count(state: LeaseState) -> None:
    """Terraform makes it anew under the same name: the host keys are others then, and it is nobody's."""
    found = standing(created=900_000.0)
    old = Lease("p-dev", ZONE, "p", "bob", state, "bob@x:1", "worker", created=900_000.0, host_keys=({"k": "old"},))
    assert found.store.create(paths.lease(ZONE, "p-dev"), codec.encode(old))
    if state is LeaseState.CONDEMNED:
        with pytest.raises(WorkerLost):
            named(found, "p-dev")
    make(found, created=950_000.0)
    give_file(found, nodes=[{**DEV, "max_lifetime_s": 1e6}])
    found.clock.now += 1000
    taken = find(found)
    assert taken is not None and taken.lease.holder == "me"
    assert (taken.lease.host_keys, taken.lease.created, taken.lease.owner) == ((), 950_000.0, "ada")


def test_a_node_that_is_not_ready_is_left_alone() -> None:
    found = standing()
    found.nodes.node_state = "PREEMPTED"
    assert find(found) is None and "p-dev" in found.nodes.specs


def test_guest_attributes_come_on_with_the_key() -> None:
    found = standing()
    taken = find(found)
    assert taken is not None and pool.let_in(found.platform, taken, "ada")
    assert set(found.nodes.metadata["p-dev-0"]) == {"enable-guest-attributes", "ssh-keys"}


@pytest.mark.parametrize("keep_warm_s", [1200, 0])
def test_a_call_takes_it_before_it_makes_one_and_never_deletes_it(
    world: Fake,  # noqa: F811
    keep_warm_s: float,
) -> None:
    object.__setattr__(world.platform.profile, "control_bucket", "c")
    give_file(world, nodes=[{**DEV, "keep_warm_s": keep_warm_s}])
    make(world)
    ended = engine(world, world.job(keep_warm_s=0.0)).run()
    assert ended.status is JobStatus.SUCCEEDED and list(world.nodes.specs) == ["p-dev"]
    assert lease(world).state is LeaseState.HELD
    # What is warm of the fleet goes first.
    lease_book.change(world.store, ZONE, "p-dev", lambda it, _: it.release(it.holder))
    warm(world, host_keys=({"ssh-ed25519": "AAAA"},), hostnames=("",))
    engine(world, world.job(keep_warm_s=900.0)).run()
    assert lease(world).state is LeaseState.WARM


@pytest.mark.parametrize("force", [False, True])
def test_a_cancelled_job_leaves_it(world: Fake, force: bool) -> None:  # noqa: F811
    job = world.job()
    held(world, job)
    lease_book.change(world.store, ZONE, "p-one", lambda it, _: dataclasses.replace(it, standing=True))
    assert cancelling.cancel(world.platform, job, timeout_s=0.0, force=force)
    assert "p-one" in world.nodes.specs


# --- deleted ------------------------------------------------------------------------------------------------


class Alone:
    """The API as it is where the node has no queued resource."""

    def __init__(self, found: Fake) -> None:
        self.node: Node | None = Node("p-vm", "READY")
        vars(found.nodes)["get_node"] = lambda zone, name: self.node if name == "p-vm" else None
        vars(found.nodes)["delete_node"] = lambda zone, name: setattr(self, "node", None)
        vars(found.nodes)["list_nodes"] = lambda zone: iter([self.node] if self.node and zone == ZONE else [])


@pytest.mark.parametrize("by_hand", [False, True])
def test_one_without_a_queued_resource_is_deleted_as_a_node(by_hand: bool) -> None:
    found = fake(control_bucket="c")
    give_file(found, nodes=[{"node": "p-vm", "zone": ZONE, "accelerator": "v5litepod-1"}])
    alone = Alone(found)
    if by_hand:
        gone = delete_node(found.platform, "vm", force=False, cancel_job=lambda job: None, tell=lambda line: None)
        assert gone == ("p-vm", ZONE, "")
    else:
        held_one = Lease("p-vm", ZONE, "p", "ada", LeaseState.HELD, "me", "client", standing=True)
        assert found.store.create(paths.lease(ZONE, "p-vm"), codec.encode(held_one))
        assert release(found.platform, ZONE, "p-vm", by="me", reason="broken", timeout_s=0.0)
    assert alone.node is None


def test_it_is_gone_when_the_node_is_and_not_when_that_was_asked_for() -> None:
    found = fake(control_bucket="c")
    alone, asked = Alone(found), list[str]()
    vars(found.nodes)["delete_node"] = lambda zone, name: asked.append(name)
    held_one = Lease("p-vm", ZONE, "p", "ada", LeaseState.HELD, "me", "client", standing=True)
    assert found.store.create(paths.lease(ZONE, "p-vm"), codec.encode(held_one))
    assert not release(found.platform, ZONE, "p-vm", by="me", reason="broken", timeout_s=0.0)
    alone.node = None
    assert release(found.platform, ZONE, "p-vm", by="me", reason="broken", timeout_s=0.0)
    assert asked == ["p-vm", "p-vm"]


# --- reaped -------------------------------------------------------------------------------------------------

VM: dict[str, Any] = {"node": "p-vm-0", "zone": ZONE, "accelerator": "v5litepod-1", "keep_warm_s": 60}


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet((ZONE,))
    object.__setattr__(fleet.platform.profile, "control_bucket", "c")
    give_file(fleet, nodes=[DEV, VM])
    return fleet


def reap(fleet: Fleet, log: Any = lambda entry: None, **options: Any) -> Report:
    return reaper.reap(fleet.platform, PolicySettings(), log=log, **options)


def acted(fleet: Fleet) -> dict[str, str]:
    return {each.resource: each.action for each in reap(fleet).acted}


@pytest.mark.parametrize("age_s, gone", [(1100, set()), (1250, {"p-dev"})])
def test_without_a_lease_it_is_idle_after_its_own_time_since_its_creation(
    fleet: Fleet, age_s: float, gone: set[str]
) -> None:
    fleet.add("p-dev", age_s=age_s, labels={})
    fleet.add("p-vm", state="", age_s=599, labels={})  # its 60 s are less than what any node gets
    fleet.add("p-foreign", age_s=9000, labels={})
    assert set(acted(fleet)) == gone
    fleet.store.now += 2
    assert set(acted(fleet)) == {"p-vm-0"}
    assert set(fleet.nodes.deleted) == gone | {"p-vm-0"}
    condemned = fleet.read("p-vm-0")
    assert condemned is not None and condemned.state is LeaseState.CONDEMNED and condemned.standing


def test_with_a_lease_it_goes_as_others_do_and_no_later_than_terraform_says(fleet: Fleet) -> None:
    fleet.add("p-dev", age_s=5000, labels={})
    fleet.lease("p-dev", LeaseState.WARM, 1100, keep_warm_s=1e9, warm_until=1e12, max_lifetime_s=1e9, external=True)
    assert acted(fleet) == {}
    fleet.store.now += 101
    assert acted(fleet) == {"p-dev": "delete"}
    old = Fleet((ZONE,))
    object.__setattr__(old.platform.profile, "control_bucket", "c")
    give_file(old, nodes=[DEV])
    old.add("p-dev", age_s=7201, labels={})
    old.lease("p-dev", LeaseState.HELD, 10, max_lifetime_s=1e9)
    assert acted(old) == {"p-dev": "drain"}


def test_one_that_waits_in_the_queue_is_never_forgotten_and_a_failed_one_is(fleet: Fleet) -> None:
    fleet.add("p-dev", "WAITING_FOR_RESOURCES", "", age_s=48 * HOUR, labels={})
    assert acted(fleet) == {}
    fleet.nodes.queued[ZONE, "p-dev"] = QueuedResource("p-dev", "FAILED", create_time=fleet.store.now - 48 * HOUR)
    assert acted(fleet) == {"p-dev": "delete"}


def test_what_terraform_makes_anew_under_the_same_name_is_not_condemned_already(fleet: Fleet) -> None:
    fleet.add("p-dev", age_s=1300, labels={})
    assert acted(fleet) == {"p-dev": "delete"}
    fleet.nodes.gone(ZONE, "p-dev")
    fleet.store.now += 200  # by then a pass reads the tombstone
    fleet.add("p-dev", age_s=10, labels={})
    assert acted(fleet) == {}
    fleet.store.now += 1300
    assert acted(fleet) == {"p-dev": "delete"}  # over the tombstone of the one before
    fleet.nodes.gone(ZONE, "p-dev")
    assert acted(fleet) == {}


@pytest.mark.parametrize("data", [b"{", b'{"schema": 1}', None])
def test_where_the_file_cannot_be_read_the_rest_goes_on(fleet: Fleet, data: bytes | None) -> None:
    fleet.add("p-dev", age_s=9000, labels={})
    fleet.add("p-ours", age_s=9000)
    store = give_file(fleet, nodes=[DEV])
    if data is None:
        store.read = _denied  # type: ignore[method-assign]
    else:
        store._objects[PLATFORM] = (data, 99, 0.0)
    entries: list[Entry] = []
    report = reap(fleet, log=entries.append)
    assert {each.resource for each in report.acted} == {"p-ours"}
    (error,) = report.errors
    assert "Terraform's nodes without a label are left as they are" in error
    (told,) = [each for each in entries if each.get("event") == "error"]
    assert (told["severity"], told["denied"]) == ("ERROR", data is None)


def test_nor_is_a_labelled_one_condemned_by_the_tombstone_of_the_node_before_it(fleet: Fleet) -> None:
    fleet.add("p-vm", state="", age_s=700)
    assert acted(fleet) == {"p-vm-0": "delete"}
    fleet.nodes.gone(ZONE, "p-vm-0")
    fleet.store.now += 200
    fleet.add("p-vm", state="", age_s=10)
    give_file(fleet)._objects[PLATFORM] = (b"{", 99, 0.0)
    assert acted(fleet) == {}


def _denied(name: str) -> Any:
    raise PermissionDenied("403")


@pytest.mark.parametrize("before", [LeaseState.CONDEMNED, LeaseState.WARM, LeaseState.HELD])
def test_one_that_is_taken_down_is_nobodys_though_an_earlier_node_left_a_lease(before: LeaseState) -> None:
    found = standing()
    assert find(found) is not None
    old = dataclasses.replace(lease(found), state=before)
    lease_book.change(found.store, ZONE, "p-dev", lambda it, _: old)
    found.store.now += 1000
    make(found)  # Terraform, anew
    taken: list[Taken | None] = []

    def delete(zone: str, name: str) -> None:
        taken.append(find(found, "other"))
        found.nodes.specs.clear()

    found.nodes.delete_queued_resource = delete  # type: ignore[method-assign]
    delete_node(found.platform, "p-dev", force=False, cancel_job=pytest.fail, tell=lambda line: None)
    assert taken == [None] and not found.nodes.specs
    assert (lease(found).state, lease(found).reason, lease(found).standing) == (
        LeaseState.CONDEMNED,
        "deleted by ada",
        True,
    )
    found.store.now += 1000
    make(found)
    assert find(found) is not None


def test_everybody_may_take_down_a_warm_one() -> None:
    found = standing()
    assert find(found) is not None
    lease_book.change(
        found.store, ZONE, "p-dev", lambda it, _: dataclasses.replace(it, state=LeaseState.WARM, owner="eva")
    )
    delete_node(found.platform, "p-dev", force=False, cancel_job=pytest.fail, tell=lambda line: None)
    assert lease(found).state is LeaseState.CONDEMNED


def test_who_takes_it_while_it_is_taken_down_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = standing()
    assert find(found) is not None
    lease_book.condemn(found.store, ZONE, "p-dev", "idle", by="me")
    found.store.now += 1000
    make(found)
    read = lease_book.read

    def taken_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(lease_book, "read", read)
        seen = read(*arguments)
        assert find(found, "other") is not None
        return seen

    monkeypatch.setattr(lease_book, "read", taken_meanwhile)
    with pytest.raises(Conflict, match="was taken this moment"):
        delete_node(found.platform, "p-dev", force=False, cancel_job=pytest.fail, tell=lambda line: None)
    assert found.nodes.specs and lease(found).holder == "other"


def test_a_pools_lifetime_goes_before_what_a_lease_says(fleet: Fleet) -> None:
    give_file(fleet, pools={"a": {"accelerator": "v5litepod-1", "zones": [ZONE], "max_lifetime_s": 7200}})
    fleet.add("p-1", age_s=7300, labels={"launcher-platform": "p", "launcher-pool": "a"})
    fleet.lease("p-1", LeaseState.HELD, 10, max_lifetime_s=1e9)
    assert acted(fleet) == {"p-1": "drain"}


def test_nor_does_a_lease_keep_a_pools_node_warm_for_longer(fleet: Fleet) -> None:
    give_file(fleet, pools={"a": {"accelerator": "v5litepod-1", "zones": [ZONE], "keep_warm_s": 600}})
    fleet.add("p-1", age_s=5000, labels={"launcher-platform": "p", "launcher-pool": "a"})
    fleet.lease("p-1", LeaseState.WARM, 590, keep_warm_s=1e9)
    assert acted(fleet) == {}
    fleet.store.now += 11
    assert acted(fleet) == {"p-1": "delete"}


# --- told ---------------------------------------------------------------------------------------------------


def test_a_pass_ends_with_its_numbers(fleet: Fleet) -> None:
    for name, lease_state, age_s, facts in (
        ("p-busy", LeaseState.HELD, 200, {"job": "ada/j/1", "usd_per_hour": 2.0}),
        ("p-session", LeaseState.HELD, 200, {}),
        ("p-warm", LeaseState.WARM, 400, {}),
        ("p-late", LeaseState.HELD, TTL_S + 50, {}),
        ("p-going", LeaseState.CONDEMNED, 400, {}),
        ("p-fresh", LeaseState.HELD, 10, {}),
    ):
        fleet.add(name, age_s=500)
        fleet.lease(name, lease_state, age_s, **facts)
    fleet.add("p-old", age_s=26 * HOUR)
    fleet.lease("p-old", LeaseState.HELD, 200, job="ada/k/1")
    fleet.add("p-queued", "ACCEPTED", "", age_s=60)
    fleet.add("p-dev", age_s=900, labels={})
    fleet.add("p-foreign", age_s=900, labels={})
    entries: list[Entry] = []
    reap(fleet, log=entries.append)
    assert [each["event"] for each in entries].count("pass") == 1
    last = entries[-1]
    assert {key: last[key] for key in last if key != "message"} == {
        "severity": "INFO",
        "event": "pass",
        "nodes": 8,
        "busy": 4,
        "idle": 3,
        "waiting": 1,
        "over_lifetime": 1,
        "oldest_s": 26 * HOUR,
        "idle_s": 400 + TTL_S + 50 + 900,
        "jobs": 3,
        "usd_per_hour": 2.0,
        "deleted": 2,
        "errors": 0,
        "dry_run": False,
    }
    assert json.dumps(last)


def test_a_pass_that_could_not_look_ends_so_too(fleet: Fleet) -> None:
    fleet.store.fails[""] = PermissionDenied("403")
    entries: list[Entry] = []
    reap(fleet, log=entries.append, dry_run=True)
    assert [(each["event"], each.get("denied"), each.get("errors"), each["dry_run"]) for each in entries] == [
        ("error", True, None, True),
        ("pass", None, 1, True),
    ]


def test_it_is_listed_with_and_without_a_lease() -> None:
    found = standing()
    (info,) = inventory.list_nodes(found.platform)
    assert (info.name, info.standing, info.lease_state, info.external) == ("p-dev", True, None, False)
    assert info.goes.endswith("(in 20 min)") and info.reason == "no call has used it yet"
    found.store.now += 1300
    (info,) = inventory.list_nodes(found.platform)
    assert info.overdue and info.reason == "no call has used it for 22 min"
    found.store.now -= 1300
    taken = find(found)
    assert taken is not None
    (info,) = inventory.list_nodes(found.platform)
    assert (info.lease_state, info.goes, info.holder) == (LeaseState.HELD, "in use", "me")


def test_the_doctor_looks_at_the_file() -> None:
    def told(found: Fake) -> tuple[Verdict, str, tuple[str, ...]]:
        (check,) = [each for each in examine(found.platform) if each.name == "platform"]
        return check.verdict, check.text, check.fixes

    assert told(fake())[0] is Verdict.OK
    found = standing()
    verdict, text, fixes = told(found)
    assert verdict is Verdict.PROBLEM and f"the platform's {ZONE}, {OTHER_ZONE}" in text
    assert fixes == ("launcher init --bucket c --profile fake",)
    give_file(found, zones=[ZONE], nodes=[DEV])
    assert told(found)[:2] == (Verdict.OK, "gs://c/platform.json: pools none; 1 nodes of Terraform's")
    give_file(found, platform="other")
    verdict, text, _ = told(found)
    assert verdict is Verdict.PROBLEM and "is of platform other" in text
