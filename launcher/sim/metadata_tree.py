"""What the metadata server of one simulated worker tells, as a tree of Compute Engine's names."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping

from launcher.sim.worker_spec import WorkerSpec

#: A directory is a dict; a leaf is text, a number or a list of lines.
Node = dict[str, "Node"] | list["Node"] | str | int

_SCOPES: list[Node] = ["https://www.googleapis.com/auth/cloud-platform"]


def instance_name(spec: WorkerSpec) -> str:
    """The name of the worker's instance, as Cloud TPU makes one up: `t1v-n-<hash>-w-<worker>`."""
    return f"t1v-n-{hashlib.sha256(spec.node.encode()).hexdigest()[:8]}-w-{spec.worker}"


class Metadata:
    """What a worker's metadata server holds. Used from the simulator's one event loop only."""

    def __init__(
        self,
        spec: WorkerSpec,
        attributes: Mapping[str, str],
        guest_attributes: dict[str, dict[str, str]],
        keep: Callable[[dict[str, dict[str, str]]], None],
    ) -> None:
        """`keep` is given the guest attributes after each change."""
        self._keep = keep
        self._spec = spec
        self._attributes = dict(attributes)
        self._preempted = False
        self._changed = asyncio.Event()
        self.guest_attributes = guest_attributes

    @property
    def attributes(self) -> Mapping[str, str]:
        """The node's metadata."""
        return self._attributes

    def update(self, attributes: Mapping[str, str]) -> None:
        """Replace the node's metadata."""
        self._attributes = dict(attributes)
        self.announce()

    def preempt(self) -> None:
        """Let `instance/preempted` become TRUE."""
        self._preempted = True
        self.announce()

    def set_guest_attribute(self, namespace: str, key: str, value: str | None) -> None:
        """Write one guest attribute, or remove it with None."""
        keys = self.guest_attributes.setdefault(namespace, {})
        if value is None:
            keys.pop(key, None)
        else:
            keys[key] = value
        if not keys:
            del self.guest_attributes[namespace]
        self._keep(self.guest_attributes)
        self.announce()

    def announce(self) -> None:
        """Wake the requests that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return at the next change or announcement."""
        await self._changed.wait()

    def find(self, path: str) -> Node | None:
        """The leaf or directory at `path` (below computeMetadata/v1, kebab case); None if there is none."""
        found: Node = self._tree()
        for part in path.strip("/").split("/") if path.strip("/") else ():
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found

    def _tree(self) -> dict[str, Node]:
        number = int(hashlib.sha256(self._spec.project.encode()).hexdigest()[:9], 16)
        return {
            "instance": self._instance(number),
            "project": {
                "attributes": {},
                "project-id": self._spec.project,
                "numeric-project-id": number,
            },
        }

    def _instance(self, project_number: int) -> dict[str, Node]:
        spec = self._spec
        name = instance_name(spec)
        email = f"{project_number}-compute@developer.gserviceaccount.com"
        account: Node = {"aliases": ["default"], "email": email, "scopes": _SCOPES}
        guest: dict[str, Node] = {namespace: dict(keys) for namespace, keys in self.guest_attributes.items()}
        return {
            "attributes": {**self._attributes, **tpu_attributes(spec)},
            "guest-attributes": guest,
            "hostname": f"{name}.{spec.zone}.c.{spec.project}.internal",
            "id": int(hashlib.sha256(f"{spec.node} {name}".encode()).hexdigest()[:15], 16),
            "maintenance-event": "NONE",
            "name": name,
            "network-interfaces": [
                {
                    "access-configs": [{"external-ip": spec.address, "type": "ONE_TO_ONE_NAT"}],
                    "ip": spec.address,
                }
            ],
            "preempted": "TRUE" if self._preempted else "FALSE",
            "service-accounts": {"default": account, email: account},
            "zone": f"projects/{project_number}/zones/{spec.zone}",
        }


def tpu_attributes(spec: WorkerSpec) -> dict[str, Node]:
    """The attributes that a TPU VM has by itself, and by which JAX knows a slice (facts of jax 0.10)."""
    environment = {
        "ACCELERATOR_TYPE": spec.accelerator_type,
        "CONSUMER_PROJECT_ID": spec.project,
        "NODE_ID": spec.node.rsplit("/", 1)[-1],
        "WORKER_ID": str(spec.worker),
        "ZONE": spec.zone,
    }
    return {
        "accelerator-type": spec.accelerator_type,
        "agent-worker-number": str(spec.worker),
        "tpu-env": "".join(f"{name}: '{value}'\n" for name, value in environment.items()),
        "worker-network-endpoints": ",".join(f"unknown:unknown:{address}" for address in spec.peers),
    }
