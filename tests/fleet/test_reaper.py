from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from launcher.errors import PermissionDenied, Unavailable
from launcher.fleet import job_records, reaper
from launcher.fleet.reaper import Decision, Entry, Report
from launcher.records import codec, paths
from launcher.records.jobs import Blob, ErrorInfo, Intent, JobRecord, JobStatus, Outcome
from launcher.records.jobs import Report as JobReport
from launcher.records.leases import TTL_S, Lease, LeaseState
from launcher.records.paths import JobPaths, new_job_id
from launcher.records.policy import PolicySettings
from launcher.records.swap import Stored
from tests.fleet.many import OTHER_ZONE, ZONE, Fleet
from tests.records.store import MemoryStore

HOUR = 3600.0
SETTINGS = PolicySettings()


def reap(fleet: Fleet, **options: object) -> Report:
    return reaper.reap(fleet.platform, SETTINGS, **{"log": lambda entry: None, **options})  # type: ignore[arg-type]


def acted(report: Report) -> set[tuple[str, str]]:
    return {(each.action, each.resource) for each in report.acted}


def state(fleet: Fleet, name: str, zone: str = ZONE) -> LeaseState:
    lease = fleet.read(name, zone)
    assert lease is not None
    return lease.state


def mixed() -> Fleet:
    """Something of everything, in two zones."""
    fleet = Fleet()
    for zone, mark in ((ZONE, "a"), (OTHER_ZONE, "b")):
        for name, lease_state, age_s in (
            ("idle", LeaseState.WARM, 900),
            ("warm", LeaseState.WARM, 800),
            ("busy", LeaseState.HELD, 30),
            ("late", LeaseState.HELD, 301),
            ("dead", LeaseState.CONDEMNED, 500),
        ):
            fleet.add(f"p-{name}-{mark}", zone=zone)
            fleet.lease(f"p-{name}-{mark}", lease_state, age_s, zone=zone)
        fleet.add(f"p-old-{mark}", zone=zone, age_s=25 * HOUR)
        fleet.lease(f"p-old-{mark}", LeaseState.HELD, 10, zone=zone)
        fleet.add(f"p-unleased-{mark}", zone=zone)
        fleet.add(f"p-coming-{mark}", "PROVISIONING", "CREATING", zone=zone)
        fleet.add(f"p-alone-{mark}", "", zone=zone)
        fleet.lease(f"p-orphan-{mark}", LeaseState.RESERVED, 400, zone=zone)
        fleet.add(f"p-foreign-{mark}", labels={"launcher-platform": "q"}, zone=zone)
        fleet.add(f"q-foreign-{mark}", zone=zone)
        fleet.add(f"p-foreign2-{mark}", "", labels={}, zone=zone)
    return fleet


DELETED = {"idle", "late", "dead", "unleased"}
EXPECTED = {
    (action, f"p-{name}-{mark}")
    for mark in "ab"
    for action, names in {"delete": {*DELETED}, "condemn": {"orphan"}, "drain": {"old"}}.items()
    for name in names
} | {("delete", f"p-alone-{mark}-0") for mark in "ab"}


def test_a_pass_takes_exactly_what_is_due() -> None:
    fleet = mixed()
    report = reap(fleet)
    assert acted(report) == EXPECTED
    assert report.errors == ()
    assert set(fleet.nodes.deleted) == {name for action, name in EXPECTED if action == "delete"}
    for mark, zone in (("a", ZONE), ("b", OTHER_ZONE)):
        for name in (*DELETED, "orphan"):
            assert state(fleet, f"p-{name}-{mark}", zone) is LeaseState.CONDEMNED
        assert state(fleet, f"p-alone-{mark}-0", zone) is LeaseState.CONDEMNED
        drained = fleet.read(f"p-old-{mark}", zone)
        assert drained is not None and drained.state is LeaseState.DRAINING
        assert drained.deadline == fleet.store.now + SETTINGS.drain_s
        assert state(fleet, f"p-busy-{mark}", zone) is LeaseState.HELD
        assert fleet.read(f"p-coming-{mark}", zone) is None


def test_a_dry_run_lists_the_same_and_changes_nothing() -> None:
    fleet = mixed()
    before = dict(fleet.store._objects)
    announced = reap(fleet, dry_run=True, verbose=True)
    assert (fleet.store._objects, fleet.nodes.deleted) == (before, [])
    assert announced.decisions == reap(fleet).decisions


def test_nothing_is_deleted_that_was_not_condemned() -> None:
    fleet = mixed()
    fleet.store.fails[paths.lease(ZONE, "p-idle-a")] = Unavailable("503")
    report = reap(fleet)
    assert "p-idle-a" not in fleet.nodes.deleted
    assert report.errors == (f"p-idle-a in {ZONE}: 503",)


def test_a_drained_node_is_deleted_by_a_pass_after_its_deadline_and_its_holder_may_renew_till_then() -> None:
    fleet = Fleet()
    fleet.add("p-1", age_s=24 * HOUR)
    fleet.lease("p-1", LeaseState.HELD)
    assert acted(reap(fleet)) == {("drain", "p-1")}
    for _ in range(4):
        fleet.store.now += 60
        lease = fleet.read("p-1")
        assert lease is not None
        fleet.lease("p-1", LeaseState.DRAINING, holder=lease.holder, deadline=lease.deadline, reason=lease.reason)
        assert acted(reap(fleet)) == set()
    fleet.store.now += 60
    assert acted(reap(fleet)) == {("delete", "p-1")}


def test_deletion_is_asked_for_again_until_it_is_gone() -> None:
    fleet = Fleet()
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.WARM, 1000)
    for passes in range(1, 4):
        reap(fleet)
        assert fleet.nodes.deleted == ["p-1"] * passes
        fleet.store.now += 300
    fleet.nodes.gone(ZONE, "p-1")
    assert acted(reap(fleet)) == set()


def test_what_an_interrupted_pass_condemned_is_deleted_by_the_next() -> None:
    fleet = Fleet()
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.WARM, 1000)
    fleet.nodes.fails["p-1"] = PermissionDenied("403: no")
    report = reap(fleet)
    assert report.errors == (f"p-1 in {ZONE}: 403: no",)
    assert state(fleet, "p-1") is LeaseState.CONDEMNED
    fleet.nodes.fails.clear()
    fleet.store.now += 300
    assert acted(reap(fleet)) == {("delete", "p-1")}
    assert fleet.nodes.deleted == ["p-1"]


def test_who_comes_back_between_the_look_and_the_condemnation_keeps_the_node() -> None:
    fleet = Fleet()
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.WARM, 1000)

    def taken(name: str) -> None:
        fleet.store.before_write = lambda name: None
        fleet.lease("p-1", LeaseState.HELD, holder="grace@desk:2-a")

    fleet.store.before_write = taken
    report = reap(fleet, verbose=True)
    assert (acted(report), fleet.nodes.deleted) == (set(), [])
    assert [each.reason for each in report.decisions] == ["its lease changed meanwhile; it was: unused for 17 min"]
    assert state(fleet, "p-1") is LeaseState.HELD


def test_somebody_who_leases_an_unleased_node_this_moment_keeps_it() -> None:
    fleet = Fleet()
    fleet.add("p-1")

    def reserved(name: str) -> None:
        fleet.store.before_write = lambda name: None
        fleet.lease("p-1", LeaseState.RESERVED)

    fleet.store.before_write = reserved
    assert acted(reap(fleet)) == set()
    assert (fleet.nodes.deleted, state(fleet, "p-1")) == ([], LeaseState.RESERVED)


def test_a_lost_answer_to_the_condemnation_is_no_lost_race() -> None:
    fleet = Fleet()
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.WARM, 1000)
    fleet.store.lose_answers = 1
    assert acted(reap(fleet)) == {("delete", "p-1")}
    assert fleet.nodes.deleted == ["p-1"]


class Client:
    """Reads the lease at one call of the reapers, and takes the node at the same or a later one."""

    def __init__(self, fleet: Fleet, look_at: int, take_at: int) -> None:
        self.won = False
        self._fleet = fleet
        self._at = (look_at, take_at)
        self._calls = 0
        self._seen: Stored | None = None
        self._lock = threading.Lock()
        fleet.store.on_call = self.step

    def step(self) -> None:
        with self._lock:
            store, name = self._fleet.store, paths.lease(ZONE, "p-1")
            if self._calls == self._at[0]:
                self._seen = MemoryStore.read(store, name)
            if self._calls == self._at[1] and self._seen is not None:
                lease = codec.decode(Lease, self._seen.data)
                if lease.state is LeaseState.WARM:
                    held = codec.encode(lease.hold("ada@laptop:1-f", "client"))
                    self.won = MemoryStore.replace(store, name, held, self._seen.generation) is not None
            self._calls += 1


def test_two_reapers_and_a_client_race_for_a_node_a_thousand_times() -> None:
    won = 0
    moments = [(look_at, take_at) for take_at in range(10) for look_at in range(take_at + 1)]
    for number in range(1001):
        fleet = Fleet((ZONE,))
        fleet.add("p-1")
        fleet.lease("p-1", LeaseState.WARM, 1000)
        client = Client(fleet, *moments[number % len(moments)])
        reapers = [threading.Thread(target=reap, args=(fleet,)) for _ in range(2)]
        for thread in reapers:
            thread.start()
        for thread in reapers:
            thread.join()
        fleet.store.on_call = lambda: None
        assert client.won == (fleet.nodes.deleted == []), number
        assert state(fleet, "p-1") is (LeaseState.HELD if client.won else LeaseState.CONDEMNED)
        won += client.won
    assert 0 < won < 1001


# --- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["queued resources", "nodes"])
def test_a_zone_that_cannot_be_listed_is_told_and_left_alone_and_stops_no_other(which: str) -> None:
    fleet = mixed()
    fleet.nodes.fails[f"{which} in {ZONE}"] = PermissionDenied("403: no")
    entries: list[Entry] = []
    report = reap(fleet, log=entries.append)
    assert {each.zone for each in report.decisions} == {OTHER_ZONE}
    assert report.errors == (f"{ZONE} is left as it is: 403: no",)
    assert [each["message"] for each in entries if each["severity"] == "ERROR"] == list(report.errors)
    assert state(fleet, "p-orphan-a") is LeaseState.RESERVED
    assert state(fleet, "p-orphan-b", OTHER_ZONE) is LeaseState.CONDEMNED


def test_a_zone_that_there_is_not_is_no_error_of_every_pass() -> None:
    fleet = Fleet((ZONE,))
    fleet.lease("p-1", LeaseState.CONDEMNED, 1000, zone=OTHER_ZONE)
    fleet.nodes.fails[f"queued resources in {OTHER_ZONE}"] = PermissionDenied("403: (or it may not exist)")
    assert reap(fleet).errors == ()
    assert len(reap(fleet, zones=[OTHER_ZONE]).errors) == 1
    fleet.nodes.fails[f"queued resources in {OTHER_ZONE}"] = Unavailable("503")
    assert len(reap(fleet).errors) == 1


def test_without_the_list_of_leases_nothing_is_decided() -> None:
    fleet = mixed()
    fleet.store.fails[""] = Unavailable("503")
    report = reap(fleet)
    assert (report.decisions, fleet.nodes.deleted) == ((), [])
    assert report.errors == ("the leases cannot be listed, so nothing is decided: 503",)


@pytest.mark.parametrize("damage", [b"not JSON", b"{}", b"[]"])
def test_a_damaged_lease_is_told_and_stops_no_other(damage: bytes) -> None:
    fleet = mixed()
    stored = fleet.store.read(paths.lease(ZONE, "p-idle-a"))
    assert stored is not None
    fleet.store.replace(paths.lease(ZONE, "p-idle-a"), damage, stored.generation)
    fleet.store.now += 300
    report = reap(fleet)
    assert len(report.errors) == 1 and report.errors[0].startswith(f"p-idle-a in {ZONE}: leases/")
    assert ("delete", "p-idle-b") in acted(report)


# --- what is looked at --------------------------------------------------------------------------------------


def test_zones_that_only_a_lease_names_are_looked_at_too() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1", zone=OTHER_ZONE)
    fleet.lease("p-1", LeaseState.WARM, 1000, zone=OTHER_ZONE)
    assert acted(reap(fleet)) == {("delete", "p-1")}


def test_named_zones_are_the_only_ones() -> None:
    assert {each.zone for each in reap(mixed(), zones=[OTHER_ZONE]).decisions} == {OTHER_ZONE}


def test_a_lease_that_was_written_just_now_is_not_read_until_its_resource_is_an_hour_old() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-young", age_s=HOUR - 1)
    fleet.lease("p-young", LeaseState.HELD, 119)
    fleet.add("p-old", age_s=HOUR)
    fleet.lease("p-old", LeaseState.HELD, 119, max_lifetime_s=HOUR)
    fleet.add("p-late", age_s=HOUR - 1)
    fleet.lease("p-late", LeaseState.HELD, 120)
    fleet.calls.clear()
    report = reap(fleet, verbose=True)
    assert fleet.calls["read"] == 2
    kept = {each.resource: each.reason for each in report.decisions if each.action == "keep"}
    assert kept == {"p-young": "its lease was written just now", "p-late": "HELD by ada@laptop:1-f"}
    assert acted(report) == {("drain", "p-old")}


def test_a_lease_that_outlived_every_node_is_not_read() -> None:
    fleet = Fleet((ZONE,))
    fleet.lease("p-1", LeaseState.CONDEMNED, 24 * HOUR)
    fleet.calls.clear()
    reap(fleet)
    assert fleet.calls["read"] == 0


def test_a_name_that_begins_like_another_is_another_thing() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-12")
    fleet.lease("p-12", LeaseState.WARM, 10)
    fleet.lease("p-1", LeaseState.HELD, 1000)
    fleet.lease("p-123", LeaseState.HELD, 1000)
    assert acted(reap(fleet)) == {("condemn", "p-1"), ("condemn", "p-123")}
    assert fleet.nodes.deleted == []


def test_another_platforms_lease_in_the_same_bucket_is_left_alone() -> None:
    fleet = Fleet((ZONE,))
    fleet.lease("p-x-1", LeaseState.HELD, 1000, platform="p-x")
    assert (reap(fleet).decisions, state(fleet, "p-x-1")) == ((), LeaseState.HELD)


def test_an_external_node_s_lease_is_kept() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("mine", "", labels={})
    fleet.lease("mine-0", LeaseState.HELD, 1000, external=True)
    fleet.lease("p-mine", LeaseState.HELD, 1000, external=True)
    assert acted(reap(fleet)) == set()


@pytest.mark.parametrize("qr", ["ACTIVE", ""])
def test_a_lease_cannot_make_a_node_of_ours_external(qr: str) -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1", qr)
    name = "p-1" if qr else "p-1-0"
    fleet.lease(name, LeaseState.HELD, 30, external=True)
    assert acted(reap(fleet)) == set()
    fleet.lease(name, LeaseState.HELD, 301, external=True)
    assert acted(reap(fleet)) == {("delete", name)}


def test_a_node_whose_queued_resource_is_gone_goes_by_its_lease() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1", age_s=100)
    fleet.add("p-2", age_s=100)
    fleet.lease("p-1", LeaseState.HELD, 1000)
    fleet.lease("p-2", LeaseState.HELD, 200)
    fleet.nodes.queued.clear()
    assert acted(reap(fleet)) == {("delete", "p-1")}
    assert (fleet.nodes.deleted, state(fleet, "p-1")) == (["p-1-0"], LeaseState.CONDEMNED)


def test_time_is_the_stores_never_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        assert acted(reap(mixed())) == EXPECTED


# --- what is told -------------------------------------------------------------------------------------------


def test_each_decision_is_one_line_of_structured_log(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.WARM, 1000)
    fleet.add("p-2")
    fleet.lease("p-2", LeaseState.WARM, 500)
    reaper.reap(fleet.platform, SETTINGS, dry_run=True)
    line, _ = capsys.readouterr().out.splitlines()
    about = {"zone": ZONE, "resource": "p-1", "action": "delete", "reason": "unused for 17 min", "dry_run": True}
    message = f"would delete p-1 in {ZONE}: unused for 17 min"
    assert json.loads(line) == {"severity": "NOTICE", "event": "decision", "message": message, **about}
    reaper.reap(fleet.platform, SETTINGS, verbose=True)
    told = {entry.get("resource"): entry for entry in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (told["p-1"]["action"], told["p-1"]["dry_run"]) == ("delete", False)
    assert (told["p-2"]["severity"], told["p-2"]["action"]) == ("INFO", "keep")
    assert told["p-2"]["reason"] == "warm for another 7 min"


# --- jobs ---------------------------------------------------------------------------------------------------

NOTHING = Blob("0" * 64, 0)


def job(fleet: Fleet, *resources: str) -> JobRecord:
    """A job whose first attempt tried these."""
    blobs = dict.fromkeys(["payload", "agent", "uv", "lock_cpu", "lock_tpu"], NOTHING)
    record = JobRecord(
        new_job_id(), "ada", "p", "f", 0.0, "v5litepod-1", 1, 1, (ZONE,), "r", "3.11", **blobs
    )  # fmt: skip
    names = JobPaths("ada", record.job_id)
    fleet.store.create(names.job, codec.encode(record))
    for number, resource in enumerate(resources, 1):
        intent = Intent(record.job_id, 1, ZONE, resource, f"{resource}-0", "test", 0.0, number, made=False)
        fleet.store.create(names.intent(1, number), codec.encode(intent))
    return record


def outcome(fleet: Fleet, record: JobRecord) -> tuple[JobStatus, ErrorInfo] | None:
    found = job_records.read(fleet.store, JobPaths("ada", record.job_id).outcome, Outcome)
    if found is None:
        return None
    error = codec.decode(JobReport, found.report).error
    assert error is not None
    return found.status, error


def test_a_job_whose_node_was_deleted_gets_its_outcome() -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1")
    record = job(fleet, "p-1")
    fleet.lease("p-1", LeaseState.HELD, 400, job=f"ada/{record.job_id}/1")
    reap(fleet, dry_run=True)
    assert outcome(fleet, record) is None
    entries: list[Entry] = []
    reap(fleet, log=entries.append)
    ended = outcome(fleet, record)
    assert ended is not None and (ended[0], ended[1].kind) == (JobStatus.FAILED, "WorkerLost")
    assert ended[1].message.startswith("node p-1-0 was deleted: ada@laptop:1-f has not renewed its lease")
    assert entries[-2]["message"] == f"job ada/{record.job_id} ended: {ended[1].message}"


def test_a_pass_that_died_before_the_outcome_is_finished_when_nobody_else_can_tell_it() -> None:
    fleet = Fleet((ZONE,))
    record = job(fleet, "p-1")
    fleet.lease("p-1", LeaseState.CONDEMNED, 2 * TTL_S - 1, job=f"ada/{record.job_id}/1", reason="too old")
    reap(fleet)
    assert outcome(fleet, record) is None
    fleet.store.now += 1
    reap(fleet)
    ended = outcome(fleet, record)
    assert ended is not None and ended[1].message == "node p-1-0 was deleted: too old"


def no_change(fleet: Fleet, record: JobRecord) -> None:
    pass


def ended_itself(fleet: Fleet, record: JobRecord) -> None:
    done = JobReport(record.job_id, 1, 0, JobStatus.CANCELLED, error=ErrorInfo("Cancelled", "by ada"))
    data = codec.encode(Outcome(record.job_id, JobStatus.CANCELLED, codec.encode(done).decode()))
    fleet.store.create(JobPaths("ada", record.job_id).outcome, data)


def next_attempt(fleet: Fleet, record: JobRecord) -> None:
    intent = Intent(record.job_id, 2, ZONE, "p-3", "p-3-0", "preempted", 0.0, made=False)
    fleet.store.create(JobPaths("ada", record.job_id).intent(2), codec.encode(intent))


@pytest.mark.parametrize(
    "resources, change, expected",
    [
        (("p-1",), ended_itself, JobStatus.CANCELLED),
        (("p-1",), next_attempt, None),
        (("p-1", "p-2"), no_change, None),
        ((), no_change, None),
        (("p-2", "p-1"), no_change, JobStatus.FAILED),
    ],
    ids=["ended", "next attempt", "next node", "no intent", "its last node"],
)
def test_a_job_that_went_on_or_ended_is_left_alone(
    resources: tuple[str, ...], change: Callable[[Fleet, JobRecord], None], expected: JobStatus | None
) -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1")
    record = job(fleet, *resources)
    change(fleet, record)
    fleet.lease("p-1", LeaseState.HELD, 400, job=f"ada/{record.job_id}/1")
    report = reap(fleet)
    assert (acted(report), report.errors) == ({("delete", "p-1")}, ())
    ended = outcome(fleet, record)
    assert (ended[0] if ended else None) == expected


@pytest.mark.parametrize("name", ["", "x", "../../x/1", "ada/x/1", "a/b/c/d", "ada/20260131-093015123-abc234/1"])
def test_a_lease_that_names_no_job_ends_none(name: str) -> None:
    fleet = Fleet((ZONE,))
    fleet.add("p-1")
    fleet.lease("p-1", LeaseState.HELD, 400, job=name)
    report = reap(fleet)
    assert (acted(report), report.errors) == ({("delete", "p-1")}, ())


# --- size ---------------------------------------------------------------------------------------------------


def test_ten_thousand_nodes_take_as_many_list_calls_as_pages_and_no_read_that_is_not_due() -> None:
    fleet = Fleet()
    due = 0
    for number in range(10_000):
        name, zone = f"p-{number:05}", (ZONE, OTHER_ZONE)[number % 2]
        fleet.add(name, zone=zone)
        idle = number % 20 < 2  # one in twenty of each zone
        due += idle
        fleet.lease(name, LeaseState.WARM if idle else LeaseState.HELD, 1000 if idle else 60, zone=zone)
    fleet.calls.clear()
    report = reap(fleet)
    assert (len(report.acted), len(fleet.nodes.deleted)) == (due, due)
    assert dict(fleet.calls) == {
        "page of leases": 10,
        "page of queued resources": 100,
        "page of nodes": 100,
        "read": due,
        "write": due,
    }


def test_the_order_of_a_report_is_always_the_same() -> None:
    assert [reap(mixed()).decisions for _ in range(3)] == [reap(mixed()).decisions] * 3
    assert Decision(ZONE, "p-idle-a", "delete", "unused for 15 min") in reap(mixed()).decisions
