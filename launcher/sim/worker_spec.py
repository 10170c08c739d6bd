"""What a simulated worker is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSpec:
    """One host of a node, as the Cloud TPU API asks for it."""

    node: str  #: full resource name, projects/P/locations/Z/nodes/N
    worker: int  #: counted from 0
    num_workers: int
    address: str  #: its own, in 127.0.0.0/8
    peers: tuple[str, ...]  #: addresses of all workers of the node, in order
    accelerator_type: str
    zone: str
    project: str
    metadata: dict[str, str]  #: the node's: `ssh-keys`, `startup-script` and others
    chips: int  #: of this host
    wrong_s: float = 0.0  #: how much its time of day is ahead of what it should be

    @property
    def node_id(self) -> str:
        """The last part of the node's name."""
        return self.node.rsplit("/", 1)[-1]
