"""Queued resources: from the queue to nodes that are READY, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from launcher.sim import quotas, tpu_names, tpu_operations
from launcher.sim.clock import Clock, timestamp
from launcher.sim.faults import Faults
from launcher.sim.state import Body, State
from launcher.sim.tasks import together
from launcher.sim.tpu_nodes import Nodes
from launcher.sim.tpu_operations import QUEUED_RESOURCE_TYPE, Operations
from launcher.sim.tpu_requests import checked_node, node_names, window

_log = logging.getLogger(__name__)

#: The member of QueuedResourceState that goes with each state.
_DATA = {
    "CREATING": "creatingData",
    "ACCEPTED": "acceptedData",
    "PROVISIONING": "provisioningData",
    "ACTIVE": "activeData",
    "SUSPENDING": "suspendingData",
    "SUSPENDED": "suspendedData",
    "FAILED": "failedData",
    "DELETING": "deletingData",
}


class Queue:
    """The queued resources. `drive` moves one on from whatever state it is in, also after a restart."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        faults: Faults,
        operations: Operations,
        nodes: Nodes,
        delays_s: Mapping[str, float],
    ) -> None:
        self._state = state
        self._clock = clock
        self._faults = faults
        self._operations = operations
        self._nodes = nodes
        self._delays_s = delays_s
        self._steps = {
            "CREATING": self._accept,
            "ACCEPTED": self._wait_for_turn,
            "WAITING_FOR_RESOURCES": self._wait_for_resources,
            "PROVISIONING": self._provision,
            "SUSPENDING": self._suspend,
            "DELETING": self._delete,
        }

    def add(self, name: str, body: Body) -> Body:
        """Record a queued resource that is being created. `body` was checked."""
        self._state.queued_resources[name] = {
            **body,
            "name": name,
            "createTime": timestamp(self._clock.now()),
        }
        self.set_state(name, "CREATING")
        return self._state.queued_resources[name]

    def state_of(self, name: str) -> str:
        """The name of the state that `name` is in."""
        state: str = self._state.queued_resources[name]["state"]["state"]
        return state

    def owned_nodes(self, name: str) -> list[str]:
        """Full names of the nodes that exist because of `name`."""
        return [key for key, node in self._state.nodes.items() if node.get("queuedResource") == name]

    def set_state(self, name: str, state: str, *, initiator: str = "SERVICE", error: Body | None = None) -> None:
        """Record that `name` is in `state` now; `error` is the reason of FAILED."""
        value: Body = {"state": state, "stateInitiator": initiator}
        if (data := _DATA.get(state)) is not None:
            value[data] = {"error": error} if error is not None else {}
        self._state.queued_resources[name]["state"] = value
        self._state.save()

    async def drive(self, name: str) -> None:
        """Take `name` through its states until it rests (ACTIVE, SUSPENDED, FAILED) or is gone."""
        while name in self._state.queued_resources:
            step = self._steps.get(self.state_of(name))
            if step is None:
                return
            await step(name)

    async def _accept(self, name: str) -> None:
        await self._clock.sleep(self._delays_s["creating"])
        self.set_state(name, "ACCEPTED")
        response = tpu_operations.resource_response(QUEUED_RESOURCE_TYPE, self._state.queued_resources[name])
        self._operations.finish("create", name, response=response)

    async def _wait_for_turn(self, name: str) -> None:
        not_before, _ = window(self._state.queued_resources[name])
        await self._clock.sleep(max(self._delays_s["accepted"], not_before - self._clock.now()))
        self.set_state(name, "WAITING_FOR_RESOURCES")

    async def _wait_for_resources(self, name: str) -> None:
        _, not_after = window(self._state.queued_resources[name])
        left_s = not_after - self._clock.now()
        await self._clock.sleep(max(0.0, min(self._delays_s["waiting"], left_s)))
        if left_s <= self._delays_s["waiting"]:
            message = "The queued resource could not be provisioned before the end of its validity."
            self._fail(name, tpu_operations.DEADLINE_EXCEEDED, message)
            return
        zone = tpu_names.zone_of(name)
        wanted = node_names(self._state.queued_resources[name], name)
        if self._faults.take("stockout", node=wanted[0], zone=zone):
            self._fail(name, tpu_operations.RESOURCE_EXHAUSTED, no_more_capacity(zone))
        elif self._faults.take("quota", node=wanted[0], zone=zone, value="failed"):
            body = self._state.queued_resources[name]
            node = checked_node(body["tpu"]["nodeSpec"][0]["node"], zone)
            words = quotas.exhausted(node["acceleratorType"], zone, spot="spot" in body)
            self._fail(name, tpu_operations.RESOURCE_EXHAUSTED, words)
        elif self._faults.take("suspended", zone=zone):
            self.set_state(name, "SUSPENDING")
        else:
            self.set_state(name, "PROVISIONING")

    async def _provision(self, name: str) -> None:
        body = self._state.queued_resources[name]
        spec = body["tpu"]["nodeSpec"][0]
        node = checked_node(spec["node"], tpu_names.zone_of(name))
        if "spot" in body:
            node["schedulingConfig"] = {"preemptible": True, "spot": True}
        wanted = node_names(body, name)
        for each in wanted:
            if each not in self._state.nodes:
                self._nodes.add(each, node, queued_resource=name, multislice="multisliceParams" in spec)
        try:
            await self.dawdle(wanted[0], tpu_names.zone_of(name))
            coming = [each for each in wanted if self._state.nodes[each]["state"] == "CREATING"]
            await together(self._nodes.bring_up(each) for each in coming)
        except Exception as error:  # whatever it was, who waits for this must not wait for ever
            _log.exception("%s could not be provisioned", name)
            await together(self._nodes.take_down(each) for each in wanted)
            self._fail(name, tpu_operations.INTERNAL, f"An internal error has occurred: {error}")
            return
        self.set_state(name, "ACTIVE")

    async def dawdle(self, node: str, zone: str) -> None:
        """Take as long as a `slow-operation` fault says that the coming of this node takes."""
        if (slow := self._faults.take("slow-operation", node=node, zone=zone)) is not None:
            await self._clock.sleep(slow.seconds)

    async def _suspend(self, name: str) -> None:
        initiator = self._state.queued_resources[name]["state"]["stateInitiator"]
        running = [each for each in self.owned_nodes(name) if self._state.nodes[each]["state"] == "READY"]
        await together(self._nodes.preempt(each) for each in running)
        await self._clock.sleep(self._delays_s["suspending"])
        self.set_state(name, "SUSPENDED", initiator=initiator)

    async def _delete(self, name: str) -> None:
        await together(self._nodes.take_down(each) for each in self.owned_nodes(name))
        await self._clock.sleep(self._delays_s["deleting"])
        del self._state.queued_resources[name]
        self._operations.finish("delete", name, response=tpu_operations.EMPTY)

    def _fail(self, name: str, code: int, message: str) -> None:
        self.set_state(name, "FAILED", error=tpu_operations.status(code, message))


def no_more_capacity(zone: str) -> str:
    """Google's words for a stockout."""
    return (
        f'There is no more capacity in the zone "{zone}"; you can try in another zone where Cloud TPU Nodes '
        "are offered (see https://cloud.google.com/tpu/docs/regions)"
    )
