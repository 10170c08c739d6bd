"""Nodes: their records, their workers, and how they come up and go."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.sim import catalog, tpu_names
from launcher.sim.addresses import Addresses
from launcher.sim.clock import Clock, timestamp
from launcher.sim.state import Body, State
from launcher.sim.tasks import together
from launcher.sim.worker_spec import WorkerSpec

if TYPE_CHECKING:
    from launcher.sim.workers import Worker, WorkerHost

_ENDPOINT_PORT = 8470
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Nodes:
    """The nodes of the simulator and their live workers. One change at a time per node (see Tasks)."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        addresses: Addresses,
        host: Callable[[], Awaitable[WorkerHost]],
        delays_s: Mapping[str, float],
        skew_of: Callable[[str], float],
    ) -> None:
        """`skew_of`: how wrong the clocks of a node's workers are, by its full name."""
        self._state = state
        self._clock = clock
        self._addresses = addresses
        self._host = host
        self._delays_s = delays_s
        self._skew_of = skew_of
        #: Live workers of each node, by worker number.
        self.workers: dict[str, dict[int, Worker]] = {}

    def add(self, name: str, node: Body, *, queued_resource: str = "", multislice: bool = False) -> Body:
        """Record a node that is being created. `node` was checked (tpu_requests.checked_node)."""
        offered = catalog.accelerator(tpu_names.zone_of(name), node["acceleratorType"])
        assert offered is not None  # checked_node looked it up in the same table
        body: Body = {
            "schedulingConfig": {},
            **node,
            "name": name,
            "state": "CREATING",
            "createTime": timestamp(self._clock.now()),
            "id": str(secrets.randbits(62)),
            "apiVersion": "V2",
            "cidrBlock": node.get("cidrBlock", "10.128.0.0/20"),
            "networkEndpoints": [
                {"ipAddress": address, "port": _ENDPOINT_PORT, "accessConfig": {}}
                for address in self._addresses.take(offered.hosts)
            ],
        }
        account = f"default@{tpu_names.project_of(name)}.iam.gserviceaccount.com"
        body["serviceAccount"] = {"email": account, "scope": [_SCOPE], **body.get("serviceAccount", {})}
        if "networkConfigs" not in body:
            default = {"network": "default", "subnetwork": "default"}
            body["networkConfig"] = {**default, **body.get("networkConfig", {})}
        show_external_addresses(body)
        if queued_resource:
            body["queuedResource"] = queued_resource
        if multislice:
            body["multisliceNode"] = True
        self._state.nodes[name] = body
        self._state.save()
        return body

    async def bring_up(self, name: str) -> None:
        """From CREATING to READY: wait for hardware to be set up, then boot the workers."""
        await self._clock.sleep(self._delays_s["provisioning"])
        await self.boot(name, first=True)
        self.set_state(name, "READY")

    async def boot(self, name: str, *, first: bool) -> None:
        """Boot all workers of a node at once. Those that did boot are in `workers` even when this raises."""
        host = await self._host()
        booted = self.workers.setdefault(name, {})

        async def boot_one(spec: WorkerSpec) -> None:
            booted[spec.worker] = await host.boot(spec, first=first)

        wrong_s = self._skew_of(name)
        specs = [replace(spec, wrong_s=wrong_s) for spec in worker_specs(self._state.nodes[name])]
        await together(map(boot_one, specs))
        self._state.nodes[name]["health"] = "HEALTHY"

    async def take_down(self, name: str) -> None:
        """Kill the workers, remove their folders, forget the node. Nothing happens when it is gone."""
        if name not in self._state.nodes:
            return
        self.set_state(name, "DELETING")
        self.workers.pop(name, None)
        host = await self._host()  # also for a node that has not booted since a restart: its disks are there
        await together(host.delete(spec) for spec in worker_specs(self._state.nodes[name]))
        await self._clock.sleep(self._delays_s["deleting"])
        self._state.nodes.pop(name, None)
        self._state.save()

    async def preempt(self, name: str) -> None:
        """Take the node away as Google does: PREEMPTED, every process killed, the record stays."""
        self.set_state(name, "PREEMPTED")
        await together(worker.preempt() for worker in self.workers.get(name, {}).values())

    async def stop(self, name: str) -> None:
        """From STOPPING to STOPPED: every process of the node ends, its disks stay."""
        await together(worker.stop() for worker in self.workers.get(name, {}).values())
        await self._clock.sleep(self._delays_s["stopping"])
        self.set_state(name, "STOPPED")

    async def start(self, name: str) -> None:
        """From STARTING to READY: the workers boot again with the disks they had."""
        await self._clock.sleep(self._delays_s["starting"])
        await self.boot(name, first=False)
        self.set_state(name, "READY")

    async def update(self, name: str, changes: Body) -> None:
        """Apply checked `changes` (top-level fields); new metadata reaches the workers at once."""
        await self._clock.sleep(self._delays_s["updating"])
        body = self._state.nodes[name]
        body.update(changes)
        show_external_addresses(body)
        for worker in self.workers.get(name, {}).values():
            worker.update_metadata(body.get("metadata", {}))
        self._state.save()

    def set_state(self, name: str, state: str) -> None:
        """Record that the node is in `state` now."""
        self._state.nodes[name]["state"] = state
        self._state.save()


def show_external_addresses(node: Body) -> None:
    """Give the endpoints an external address or none, as the node's network configuration says.

    The same loopback address serves as both: a simulated worker has just one.
    """
    configs = [node.get("networkConfig", {}), *node.get("networkConfigs", [])]
    external = any(config.get("enableExternalIps", False) for config in configs)
    for endpoint in node["networkEndpoints"]:
        endpoint["accessConfig"] = {"externalIp": endpoint["ipAddress"]} if external else {}


def worker_specs(node: Body) -> list[WorkerSpec]:
    """What each worker of `node` is, in order."""
    name = node["name"]
    zone = tpu_names.zone_of(name)
    offered = catalog.accelerator(zone, node["acceleratorType"])
    assert offered is not None  # checked when the node was made
    addresses = tuple(endpoint["ipAddress"] for endpoint in node["networkEndpoints"])
    return [
        WorkerSpec(
            node=name,
            worker=index,
            num_workers=len(addresses),
            address=address,
            peers=addresses,
            accelerator_type=offered.name,
            zone=zone,
            project=tpu_names.project_of(name),
            metadata=dict(node.get("metadata", {})),
            chips=offered.chips_per_host,
        )
        for index, address in enumerate(addresses)
    ]
