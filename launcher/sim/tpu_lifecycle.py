"""What requests and faults do to nodes and queued resources: each begins a change that runs on its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from launcher.sim import quotas, tpu_names, tpu_operations
from launcher.sim.addresses import Addresses
from launcher.sim.clock import Clock
from launcher.sim.faults import Faults, matches
from launcher.sim.http import GoogleError
from launcher.sim.state import Body, State
from launcher.sim.tasks import Tasks
from launcher.sim.tpu_nodes import Nodes
from launcher.sim.tpu_operations import NODE_TYPE, Operations
from launcher.sim.tpu_phases import DEFAULT_DELAYS_S
from launcher.sim.tpu_queue import Queue, no_more_capacity
from launcher.sim.tpu_requests import node_names

if TYPE_CHECKING:
    from launcher.sim.workers import Worker, WorkerHost

_log = logging.getLogger(__name__)

#: States in which Google deletes a queued resource that still has nodes without `force`.
_DELETABLE = frozenset({"ACCEPTED", "FAILED", "SUSPENDED"})
_SUSPENDABLE = frozenset({"ACCEPTED", "WAITING_FOR_RESOURCES", "ACTIVE"})


class Lifecycle:
    """The Cloud TPU service behind the handlers. Everything runs on one event loop."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        faults: Faults,
        host: Callable[[], Awaitable[WorkerHost]],
        delays_s: Mapping[str, float],
    ) -> None:
        self.state = state
        self.operations = Operations(state, clock)
        self.tasks = Tasks()
        self._faults = faults
        merged_s = {**DEFAULT_DELAYS_S, **delays_s}
        self.nodes = Nodes(state, clock, Addresses(state), host, merged_s, self._skew_of)
        self.queue = Queue(state, clock, faults, self.operations, self.nodes, merged_s)

    def create_node(self, name: str, node: Body, request_id: str = "") -> Body:
        """Begin to create a node that stands alone. Returns the operation."""
        operation = self.operations.begin("create", name, request_id)
        self.nodes.add(name, node)
        self.tasks.start(name, self._create_node(name))
        return operation

    async def delete_node(self, name: str) -> Body:
        """Begin to delete a node, also one that is still being created. Returns the operation."""
        self.operations.refuse_if_running(name, "delete")
        owner = self.state.nodes[name].get("queuedResource", "")
        if owner and self.operations.running(owner, "delete"):
            self.operations.refuse_if_running(owner)
        if owner and self.queue.state_of(owner) == "PROVISIONING":
            raise tpu_names.failed_precondition(f"Node '{name}' is being provisioned by '{owner}'.")
        operation = self.operations.begin("delete", name)
        await self._interrupt(name)
        self.nodes.set_state(name, "DELETING")
        self.tasks.start(name, self._delete_node(name))
        return operation

    def update_node(self, name: str, changes: Body) -> Body:
        """Begin to apply checked changes. Returns the operation."""
        self.operations.refuse_if_running(name)
        return self._change(name, "update", partial(self.nodes.update, name, changes))

    def stop_node(self, name: str) -> Body:
        """Begin to stop a READY node. Returns the operation."""
        self.operations.refuse_if_running(name)
        self._require(name, "READY", "stopped")
        self.nodes.set_state(name, "STOPPING")
        return self._change(name, "stop", partial(self.nodes.stop, name))

    def start_node(self, name: str) -> Body:
        """Begin to start a STOPPED node. Returns the operation."""
        self.operations.refuse_if_running(name)
        self._require(name, "STOPPED", "started")
        self.nodes.set_state(name, "STARTING")
        return self._change(name, "start", partial(self.nodes.start, name))

    def create_queued_resource(self, name: str, body: Body, request_id: str = "") -> Body:
        """Put a checked request into the queue. Returns the operation, which ends when it is accepted."""
        operation = self.operations.begin("create", name, request_id)
        self.queue.add(name, body)
        self.tasks.start(name, self.queue.drive(name))
        return operation

    async def delete_queued_resource(self, name: str, *, force: bool, request_id: str = "") -> Body:
        """Begin to delete: with `force` the nodes first, else only where none is left or in use."""
        self.operations.refuse_if_running(name, "delete")
        state = self.queue.state_of(name)
        if not force and state not in _DELETABLE and self.queue.owned_nodes(name):
            raise tpu_names.failed_precondition(
                f"Queued resource '{name}' is in state {state} and has nodes; delete them first or set force."
            )
        operation = self.operations.begin("delete", name, request_id)
        await self._interrupt(name)
        for node in self.queue.owned_nodes(name):
            await self.tasks.settled(node)
        self.queue.set_state(name, "DELETING", initiator="USER")
        self.tasks.start(name, self.queue.drive(name))
        return operation

    def check_quota(self, node: str, body: Body, *, spot: bool) -> None:
        """Refuse a new node (full name, checked body) where a `quota` fault waits for it."""
        zone = tpu_names.zone_of(node)
        if self._faults.take("quota", node=node, zone=zone, value="create"):
            raise GoogleError(429, quotas.exhausted(body["acceleratorType"], zone, spot=spot))

    def set_clocks(self) -> None:
        """Let the clocks of all workers be as wrong as the `clock-skew` faults say now."""
        for name in self.nodes.workers:
            for worker in self.workers_of(name):
                worker.clock.skew(self._skew_of(name))

    async def strike(self, fault: str, *, node: str | None, zone: str | None, count: int) -> list[str]:
        """Let a fault happen at once to the first `count` that match: READY nodes, or queued resources to suspend.

        Returns their names.
        """
        if fault == "suspended":
            return await self._strike_queue(node, zone, count)
        struck = [
            name
            for name, body in self.state.nodes.items()
            if body["state"] == "READY" and matches(node, name) and zone in (None, tpu_names.zone_of(name))
        ][:count]
        for name in struck:
            if fault == "preemption" and self.state.nodes[name]["state"] == "READY":
                await self._preempt(name)
            for worker in self.workers_of(name):
                if fault == "dropped-connection":
                    await worker.drop_connections()
                elif fault == "changed-host-key":
                    await worker.change_host_key()
        return struck

    async def _strike_queue(self, node: str | None, zone: str | None, count: int) -> list[str]:
        struck = [
            name
            for name, body in self.state.queued_resources.items()
            if self.queue.state_of(name) in _SUSPENDABLE
            and zone in (None, tpu_names.zone_of(name))
            and any(matches(node, each) for each in (name, *node_names(body, name)))
        ][:count]
        for name in struck:
            await self.tasks.stop(name)
            self._suspend(name, initiator="SERVICE")
        return struck

    def workers_of(self, name: str) -> list[Worker]:
        """The live workers of a node, in order."""
        return [worker for _, worker in sorted(self.nodes.workers.get(name, {}).items())]

    async def resume(self) -> None:
        """After a restart: boot what had been READY, and go on with every change that was under way."""
        for name, body in list(self.state.nodes.items()):
            owned = "queuedResource" in body
            if body["state"] == "READY":
                await self.nodes.boot(name, first=False)
                self._cancel_operations(name)
            elif body["state"] == "DELETING" and not self.operations.running(body.get("queuedResource", ""), "delete"):
                self._cancel_operations(name)
                self.tasks.start(name, self._delete_node(name))
            elif body["state"] == "CREATING" and not owned:
                self.tasks.start(name, self._create_node(name))
            elif body["state"] == "STOPPING":
                self.tasks.start(name, self._finishing(name, "stop", partial(self.nodes.stop, name)))
            elif body["state"] == "STARTING":
                self.tasks.start(name, self._finishing(name, "start", partial(self.nodes.start, name)))
        for name in list(self.state.queued_resources):
            self.tasks.start(name, self.queue.drive(name))

    async def close(self) -> None:
        """Stop every change where it is; a restarted simulator goes on with it."""
        await self.tasks.close()

    async def _create_node(self, name: str) -> None:
        zone = tpu_names.zone_of(name)
        try:
            if self._faults.take("stockout", node=name, zone=zone):
                status = tpu_operations.status(tpu_operations.RESOURCE_EXHAUSTED, no_more_capacity(zone))
            else:
                await self.queue.dawdle(name, zone)
                await self.nodes.bring_up(name)
                self.operations.finish("create", name, response=self._as_response(name))
                return
        except Exception as error:  # whatever it was, who waits for this must not wait for ever
            _log.exception("%s could not be created", name)
            status = tpu_operations.status(tpu_operations.INTERNAL, f"An internal error has occurred: {error}")
        await self.nodes.take_down(name)
        self.operations.finish("create", name, error=status)

    async def _delete_node(self, name: str) -> None:
        owner = self.state.nodes[name].get("queuedResource", "")
        await self.nodes.take_down(name)
        self.operations.finish("delete", name, response=tpu_operations.EMPTY)
        if owner in self.state.queued_resources and self.queue.state_of(owner) == "ACTIVE":
            self._suspend(owner, initiator="USER")

    async def _preempt(self, name: str) -> None:
        owner = self.state.nodes[name].get("queuedResource", "")
        await self._interrupt(name)
        await self.nodes.preempt(name)
        if owner in self.state.queued_resources and self.queue.state_of(owner) == "ACTIVE":
            self._suspend(owner, initiator="SERVICE")

    def _skew_of(self, name: str) -> float:
        fault = self._faults.find("clock-skew", node=name, zone=tpu_names.zone_of(name))
        return 0.0 if fault is None else fault.seconds

    def _suspend(self, name: str, *, initiator: str) -> None:
        self.queue.set_state(name, "SUSPENDING", initiator=initiator)
        self.tasks.start(name, self.queue.drive(name))

    async def _interrupt(self, name: str) -> None:
        """Stop the change that runs on `name` and end its operations as cancelled."""
        await self.tasks.stop(name)
        self._cancel_operations(name)

    def _cancel_operations(self, name: str) -> None:
        status = tpu_operations.status(tpu_operations.CANCELLED, f"The operation on '{name}' was cancelled.")
        for verb in ("create", "update", "stop", "start"):
            self.operations.finish(verb, name, error=status)

    def _require(self, name: str, wanted: str, done: str) -> None:
        if (state := self.state.nodes[name]["state"]) != wanted:
            raise tpu_names.failed_precondition(f"Node '{name}' is in state {state}; it cannot be {done}.")

    def _change(self, name: str, verb: str, change: Callable[[], Awaitable[None]]) -> Body:
        operation = self.operations.begin(verb, name)
        self.tasks.start(name, self._finishing(name, verb, change))
        return operation

    async def _finishing(self, name: str, verb: str, change: Callable[[], Awaitable[None]]) -> None:
        try:
            await change()
        except Exception as error:  # whatever it was, who waits for this must not wait for ever
            _log.exception("%s of %s failed", verb, name)
            status = tpu_operations.status(tpu_operations.INTERNAL, f"An internal error has occurred: {error}")
            self.operations.finish(verb, name, error=status)
        else:
            self.operations.finish(verb, name, response=self._as_response(name))

    def _as_response(self, name: str) -> Body:
        return tpu_operations.resource_response(NODE_TYPE, self.state.nodes[name])
