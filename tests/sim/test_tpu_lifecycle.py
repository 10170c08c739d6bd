"""The state machines of nodes and queued resources, without a server and without waiting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from launcher.sim.clock import Clock
from launcher.sim.faults import Faults
from launcher.sim.http import GoogleError
from launcher.sim.state import Body, State
from launcher.sim.tpu_lifecycle import Lifecycle
from launcher.sim.tpu_requests import checked_node, checked_queued_resource
from launcher.sim.worker_spec import WorkerSpec

ZONE = "us-west4-a"
PARENT = f"projects/p/locations/{ZONE}"
NODE = f"{PARENT}/nodes/n"
QUEUED = f"{PARENT}/queuedResources/q"


class QuickClock(Clock):
    """Time passes by sleeping, and sleeping takes none."""

    def __init__(self) -> None:
        self.time_s = 1_000_000.0

    def now(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        await asyncio.sleep(0)


@dataclasses.dataclass
class StubWorker:
    spec: WorkerSpec
    events: list[str]
    guest_attributes: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)

    def _note(self, event: str) -> None:
        self.events.append(f"{event} {self.spec.node_id}-{self.spec.worker}")

    def update_metadata(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata

    async def drop_connections(self) -> None:
        self._note("drop")

    async def change_host_key(self) -> None:
        self._note("rekey")

    async def preempt(self) -> None:
        self._note("preempt")

    async def stop(self) -> None:
        self._note("stop")


class StubHost:
    """Stands in for WorkerHost: workers that do nothing but remember what was done to them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.broken: set[int] = set()

    async def boot(self, spec: WorkerSpec, *, first: bool) -> StubWorker:
        await asyncio.sleep(0)
        if spec.worker in self.broken:
            raise OSError("no address")
        self.events.append(f"boot {spec.node_id}-{spec.worker}" + ("" if first else " again"))
        return StubWorker(spec, self.events, metadata=spec.metadata)

    async def delete(self, spec: WorkerSpec) -> None:
        self.events.append(f"delete {spec.node_id}-{spec.worker}")


class Bench:
    """One lifecycle on a folder. `restart` is what a killed and restarted simulator sees."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self.clock = QuickClock()
        self.faults = Faults()
        self.restart()

    def restart(self) -> None:
        self.host = StubHost()
        self.state = State(self._path)
        host: Any = self.host

        async def worker_host() -> Any:
            return host

        self.lifecycle = Lifecycle(self.state, self.clock, self.faults, worker_host, {})

    def node(self, accelerator: str = "v5litepod-1", **fields: Any) -> Body:
        return checked_node({"acceleratorType": accelerator, "runtimeVersion": "v2-alpha-tpuv5-lite", **fields}, ZONE)

    def enqueue(self, spec: Body | None = None, **fields: Any) -> Body:
        wanted = {"nodeId": "n", **(spec or {})}
        node = {"acceleratorType": "v5litepod-16", "runtimeVersion": "v2-alpha-tpuv5-lite"}
        if "multisliceParams" in wanted:
            del wanted["nodeId"]
        body = {"tpu": {"nodeSpec": [{"parent": PARENT, "node": node, **wanted}]}, **fields}
        return self.lifecycle.create_queued_resource(QUEUED, checked_queued_resource(body, "p", ZONE))

    async def settle(self) -> None:
        await self.lifecycle.tasks.settled()

    def queued_state(self) -> str:
        return self.lifecycle.queue.state_of(QUEUED)

    async def watch(self, look: Callable[[], str]) -> list[str]:
        """The distinct values of `look`, in order, until nothing changes any more."""
        seen: list[str] = []
        settled = asyncio.ensure_future(self.settle())
        while not settled.done():
            value = look()
            if seen[-1:] != [value]:
                seen.append(value)
            await asyncio.sleep(0)
        last = look()
        return seen if seen[-1:] == [last] else [*seen, last]


Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    """Runs a scenario on a fresh bench and an event loop of its own."""

    def runner(scenario: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            bench = Bench(tmp_path)
            try:
                await scenario(bench)
            finally:
                await bench.lifecycle.close()

        asyncio.run(main())

    return runner


Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


def test_queued_resource_goes_through_all_states_in_googles_order(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        states = await bench.watch(bench.queued_state)
        assert states == ["CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
        node = bench.state.nodes[NODE]
        assert node["state"] == "READY" and node["queuedResource"] == QUEUED
        assert len(node["networkEndpoints"]) == 4
        assert sorted(bench.host.events) == [f"boot n-{index}" for index in range(4)]

    run(scenario)


def test_create_operation_of_queued_resource_is_done_when_it_is_accepted(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        operation = bench.enqueue()
        states = await bench.watch(lambda: f"{bench.queued_state()} {operation['done']}")
        assert states[:2] == ["CREATING False", "ACCEPTED True"]
        assert operation["response"]["@type"].endswith("tpu.v2.QueuedResource")

    run(scenario)


def test_node_is_creating_while_its_queued_resource_is_provisioning(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        states = await bench.watch(lambda: str(bench.state.nodes.get(NODE, {}).get("state")))
        assert states == ["None", "CREATING", "READY"]

    run(scenario)


def test_multislice_makes_numbered_nodes(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue({"multisliceParams": {"nodeCount": 2, "nodeIdPrefix": "part"}})
        await bench.settle()
        assert sorted(bench.state.nodes) == [f"{PARENT}/nodes/part-0", f"{PARENT}/nodes/part-1"]
        assert all(node["multisliceNode"] for node in bench.state.nodes.values())

    run(scenario)


@pytest.mark.parametrize("policy", [{"validUntilDuration": "0.01s"}, {"validUntilTime": "1970-01-02T00:00:00Z"}])
def test_queued_resource_that_waits_past_its_validity_fails(run: Run, policy: Body) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue(queueingPolicy=policy)
        assert await bench.watch(bench.queued_state) == ["CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "FAILED"]
        assert bench.state.queued_resources[QUEUED]["state"]["failedData"]["error"]["code"] == 4
        assert bench.state.nodes == {}

    run(scenario)


def test_queued_resource_does_not_wait_for_resources_before_its_valid_after(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        before_s = bench.clock.now()
        bench.enqueue(queueingPolicy={"validAfterDuration": "3600s"})
        while bench.queued_state() != "WAITING_FOR_RESOURCES":
            await asyncio.sleep(0)
        assert bench.clock.now() - before_s >= 3600

    run(scenario)


def test_stockout_fails_the_queued_resource_with_code_8(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.faults.inject("stockout", zone=ZONE)
        bench.enqueue()
        await bench.settle()
        error = bench.state.queued_resources[QUEUED]["state"]["failedData"]["error"]
        assert error["code"] == 8 and f'no more capacity in the zone "{ZONE}"' in error["message"]
        assert bench.state.nodes == {}

    run(scenario)


def test_stockout_elsewhere_changes_nothing_here(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.faults.inject("stockout", zone="us-central1-a")
        bench.enqueue()
        await bench.settle()
        assert bench.queued_state() == "ACTIVE"

    run(scenario)


def test_stockout_of_a_lone_node_ends_its_operation_and_leaves_nothing(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.faults.inject("stockout", node="n")
        operation = bench.lifecycle.create_node(NODE, bench.node())
        await bench.settle()
        assert operation["done"] and operation["error"]["code"] == 8
        assert bench.state.nodes == {}

    run(scenario)


def test_worker_that_cannot_boot_fails_the_queued_resource_and_takes_the_others_down(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.host.broken = {2}
        bench.enqueue()
        await bench.settle()
        assert bench.queued_state() == "FAILED" and bench.state.nodes == {}
        deleted = sorted(event for event in bench.host.events if event.startswith("delete"))
        assert deleted == ["delete n-0", "delete n-1", "delete n-2", "delete n-3"]

    run(scenario)


def test_preemption_shows_on_node_and_queued_resource(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue(spot={})
        await bench.settle()
        assert await bench.lifecycle.strike("preemption", node="n", zone=None, count=1) == [NODE]
        states = await bench.watch(bench.queued_state)
        assert states == ["SUSPENDING", "SUSPENDED"]
        assert bench.state.nodes[NODE]["state"] == "PREEMPTED"
        assert bench.state.queued_resources[QUEUED]["state"]["stateInitiator"] == "SERVICE"
        assert [event for event in bench.host.events if "preempt" in event] == [f"preempt n-{k}" for k in range(4)]

    run(scenario)


def test_preemption_of_one_slice_suspends_the_whole_queued_resource(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue({"multisliceParams": {"nodeCount": 2, "nodeIdPrefix": "part"}})
        await bench.settle()
        await bench.lifecycle.strike("preemption", node="part-1", zone=None, count=1)
        await bench.settle()
        assert bench.queued_state() == "SUSPENDED"
        assert {node["state"] for node in bench.state.nodes.values()} == {"PREEMPTED"}

    run(scenario)


def test_fault_of_connections_reaches_the_workers(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.lifecycle.create_node(NODE, bench.node())
        await bench.settle()
        await bench.lifecycle.strike("dropped-connection", node=None, zone=ZONE, count=1)
        await bench.lifecycle.strike("changed-host-key", node=NODE, zone=None, count=1)
        assert await bench.lifecycle.strike("preemption", node="other", zone=None, count=1) == []
        assert bench.host.events == ["boot n-0", "drop n-0", "rekey n-0"]

    run(scenario)


def test_delete_of_an_active_queued_resource_needs_force(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        await bench.settle()
        with pytest.raises(GoogleError, match="ACTIVE") as caught:
            await bench.lifecycle.delete_queued_resource(QUEUED, force=False)
        assert (caught.value.code, caught.value.status) == (400, "FAILED_PRECONDITION")
        assert bench.queued_state() == "ACTIVE"

    run(scenario)


def test_forced_delete_takes_the_nodes_first(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        await bench.settle()
        operation = await bench.lifecycle.delete_queued_resource(QUEUED, force=True)

        def look() -> str:
            return f"{len(bench.state.nodes)} {len(bench.state.queued_resources)} {operation['done']}"

        assert await bench.watch(look) == ["1 1 False", "0 1 False", "0 0 True"]

    run(scenario)


@pytest.mark.parametrize("state", ["CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"])
def test_forced_delete_works_in_every_state_on_the_way(run: Run, state: str) -> None:
    async def scenario(bench: Bench) -> None:
        created = bench.enqueue()
        while bench.queued_state() != state:
            await asyncio.sleep(0)
        await bench.lifecycle.delete_queued_resource(QUEUED, force=True)
        await bench.settle()
        assert bench.state.queued_resources == {} and bench.state.nodes == {}
        assert created["done"]
        booted = {event.split()[1] for event in bench.host.events if event.startswith("boot")}
        assert booted <= {event.split()[1] for event in bench.host.events if event.startswith("delete")}

    run(scenario)


@pytest.mark.parametrize("fault", ["stockout", "preemption"])
def test_delete_without_force_works_when_failed_or_suspended(run: Run, fault: str) -> None:
    async def scenario(bench: Bench) -> None:
        if fault == "stockout":
            bench.faults.inject(fault)
        bench.enqueue()
        await bench.settle()
        if fault == "preemption":
            await bench.lifecycle.strike(fault, node=None, zone=None, count=1)
            await bench.settle()
        await bench.lifecycle.delete_queued_resource(QUEUED, force=False)
        await bench.settle()
        assert bench.state.queued_resources == {} and bench.state.nodes == {}

    run(scenario)


def test_deleting_the_node_suspends_its_queued_resource_by_the_user(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        await bench.settle()
        await bench.lifecycle.delete_node(NODE)
        await bench.settle()
        state = bench.state.queued_resources[QUEUED]["state"]
        assert (state["state"], state["stateInitiator"]) == ("SUSPENDED", "USER")
        await bench.lifecycle.delete_queued_resource(QUEUED, force=False)
        await bench.settle()
        assert bench.state.queued_resources == {}

    run(scenario)


def test_second_delete_while_one_runs_is_409(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        await bench.settle()
        await bench.lifecycle.delete_queued_resource(QUEUED, force=True)
        with pytest.raises(GoogleError) as caught:
            await bench.lifecycle.delete_queued_resource(QUEUED, force=True)
        assert (caught.value.code, caught.value.status) == (409, "ABORTED")

    run(scenario)


def test_node_deleted_while_creating_ends_both_operations(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        created = bench.lifecycle.create_node(NODE, bench.node())
        await asyncio.sleep(0)
        deleted = await bench.lifecycle.delete_node(NODE)
        await bench.settle()
        assert created["error"]["code"] == 1 and deleted["response"]["@type"].endswith("protobuf.Empty")
        assert bench.state.nodes == {}

    run(scenario)


def test_update_of_metadata_reaches_the_workers_and_is_refused_while_creating(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.lifecycle.create_node(NODE, bench.node(metadata={"a": "1"}))
        with pytest.raises(GoogleError, match="unable to queue the operation"):
            bench.lifecycle.update_node(NODE, {"metadata": {"a": "2"}})
        await bench.settle()
        operation = bench.lifecycle.update_node(NODE, {"metadata": {"a": "2"}})
        await bench.settle()
        worker: Any = bench.lifecycle.workers_of(NODE)[0]
        assert worker.metadata == {"a": "2"} == operation["response"]["metadata"]

    run(scenario)


def test_stopped_node_starts_again_with_its_disk_and_address(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.lifecycle.create_node(NODE, bench.node())
        await bench.settle()
        before = bench.state.nodes[NODE]["networkEndpoints"]
        bench.lifecycle.stop_node(NODE)
        assert await bench.watch(lambda: str(bench.state.nodes[NODE]["state"])) == ["STOPPING", "STOPPED"]
        bench.lifecycle.start_node(NODE)
        assert await bench.watch(lambda: str(bench.state.nodes[NODE]["state"])) == ["STARTING", "READY"]
        assert bench.host.events == ["boot n-0", "stop n-0", "boot n-0 again"]
        assert bench.state.nodes[NODE]["networkEndpoints"] == before

    run(scenario)


def test_restart_boots_ready_nodes_again_with_their_disk(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        await bench.settle()
        before = bench.state.nodes[NODE]
        bench.restart()
        await bench.lifecycle.resume()
        await bench.settle()
        assert bench.state.nodes[NODE] == before and bench.queued_state() == "ACTIVE"
        assert sorted(bench.host.events) == [f"boot n-{index} again" for index in range(4)]

    run(scenario)


@pytest.mark.parametrize("state", ["CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"])
def test_restart_goes_on_with_a_queued_resource_on_its_way(run: Run, state: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.enqueue()
        while bench.queued_state() != state:
            await asyncio.sleep(0)
        await bench.lifecycle.close()
        bench.restart()
        await bench.lifecycle.resume()
        await bench.settle()
        assert bench.queued_state() == "ACTIVE" and bench.state.nodes[NODE]["state"] == "READY"
        assert all(operation["done"] for operation in bench.state.operations.values())

    run(scenario)


@pytest.mark.parametrize("begin", ["create", "delete", "stop", "delete the queued resource"])
def test_restart_finishes_every_operation_that_had_begun(run: Run, begin: str) -> None:
    async def scenario(bench: Bench) -> None:
        if "queued" in begin:
            bench.enqueue()
            await bench.settle()
            await bench.lifecycle.delete_queued_resource(QUEUED, force=True)
        else:
            bench.lifecycle.create_node(NODE, bench.node())
            if begin != "create":
                await bench.settle()
        if begin == "delete":
            await bench.lifecycle.delete_node(NODE)
        elif begin == "stop":
            bench.lifecycle.stop_node(NODE)
        await bench.lifecycle.close()
        bench.restart()
        await bench.lifecycle.resume()
        await bench.settle()
        assert all(operation["done"] for operation in bench.state.operations.values())
        states = [node["state"] for node in bench.state.nodes.values()]
        assert states == {"create": ["READY"], "stop": ["STOPPED"]}.get(begin, [])

    run(scenario)


def test_addresses_of_live_nodes_differ_and_a_freed_one_is_not_reused_at_once(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        seen: list[str] = []
        for _ in range(3):
            bench.lifecycle.create_node(NODE, bench.node("v5litepod-16"))
            await bench.settle()
            seen += [endpoint["ipAddress"] for endpoint in bench.state.nodes[NODE]["networkEndpoints"]]
            await bench.lifecycle.delete_node(NODE)
            await bench.settle()
        assert len(set(seen)) == 12 and len({address.split(".")[1] for address in seen}) == 1

    run(scenario)
