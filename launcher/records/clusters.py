"""When a TPU node pool is to be emptied and a cluster deleted, and clusters.json: since when either is idle.

GKE's own autoscaler empties a pool that no Pod asks for; this is for the pool that it leaves standing. A verdict
follows from what Google lists, from the record and from Google's clock. What is not known is never idle, and anything
but idle is forgotten: the time counts anew from the next idle look.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from launcher.records.paths import new_token
from launcher.records.policy import PLATFORM_LABEL, Keep

IDLE_S = 60 * 60.0  # well beyond the autoscaler's own ten minutes

_ACCELERATORS = {  # machine type -> what GKE calls the TPUs of its nodes
    "ct4p": "tpu-v4-podslice",
    "ct5lp": "tpu-v5-lite-podslice",
    "ct5p": "tpu-v5p-slice",
    "ct6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
_ACCELERATOR, _TOPOLOGY, _POOL = (
    "cloud.google.com/gke-tpu-accelerator",
    "cloud.google.com/gke-tpu-topology",
    "cloud.google.com/gke-nodepool",
)
_SYSTEM_NAMESPACE = re.compile(r"kube-(system|public|node-lease)|gmp-.*|gke-.*")
_ENDED = ("Succeeded", "Failed")

# What a state means: whether there can be something idle. A state that is not named here is not known.
_CLUSTER_SETTLED = {
    "STATUS_UNSPECIFIED": False,
    "PROVISIONING": False,
    "RUNNING": True,
    "RECONCILING": False,  # an operation is under way, and would refuse ours
    "STOPPING": False,
    "ERROR": True,
    "DEGRADED": True,
}
_POOL_SETTLED = {
    "STATUS_UNSPECIFIED": False,
    "PROVISIONING": False,
    "RUNNING": True,
    "RUNNING_WITH_ERROR": True,  # some of its nodes did not come; the others cost
    "RECONCILING": False,
    "STOPPING": False,
    "ERROR": True,
}


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """`idle_s`: how long a pool or the cluster must have been idle. `delete_idle`: the cluster may be deleted."""

    idle_s: float = IDLE_S
    delete_idle: bool = False


@dataclasses.dataclass(frozen=True)
class PoolFacts:
    """A node pool as GKE lists it. nodes: how many it is to have, over all zones; None where nobody can tell."""

    name: str
    state: str
    machine_type: str
    topology: str = ""
    nodes: int | None = None

    @property
    def tpu(self) -> bool:
        return re.match(r"ct\d|tpu", self.machine_type) is not None


@dataclasses.dataclass(frozen=True)
class PodFacts:
    """A Pod as Kubernetes lists it. tpu: it asks for TPUs. selector: its nodeSelector."""

    namespace: str
    name: str
    phase: str
    tpu: bool = False
    selector: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def users(self) -> bool:
        """Whether a user made it, and not GKE."""
        return self.tpu or _SYSTEM_NAMESPACE.fullmatch(self.namespace) is None


@dataclasses.dataclass(frozen=True)
class ClusterFacts:
    """A cluster as GKE lists it. uid: another one under the same name has another. dns_endpoint: a host's name."""

    name: str
    location: str
    state: str
    uid: str = ""
    dns_endpoint: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    pools: tuple[PoolFacts, ...] = ()


@dataclasses.dataclass(frozen=True)
class ClusterWatch:
    """clusters.json: since when (epoch seconds, by GCS's clock) the cluster and its pools are seen idle; 0 or no entry:
    not idle when somebody last looked."""

    cluster: str  # location/name
    uid: str
    idle_since: float = 0.0
    pools: dict[str, float] = dataclasses.field(default_factory=dict)
    token: str = dataclasses.field(default_factory=new_token)

    def since(self, pool: str) -> float:
        """Of one pool; "" is the cluster."""
        return self.pools.get(pool, 0.0) if pool else self.idle_since


@dataclasses.dataclass(frozen=True)
class Idle:
    """`due`: idle for so long that it is to go."""

    reason: str
    since: float
    due: bool


def is_ours(cluster: ClusterFacts, platform: str) -> bool:
    """Whether Terraform made it for this platform. No other one is ever touched."""
    return cluster.labels.get(PLATFORM_LABEL) == platform


def pool_verdict(
    cluster: ClusterFacts,
    pool: PoolFacts,
    pods: Sequence[PodFacts] | None,
    since: float,
    now: float,
    settings: ClusterSettings,
) -> Keep | Idle:
    """Whether a TPU node pool has nodes that no Pod asks for. `pods` None: they could not be listed."""
    if not pool.tpu:
        return Keep("it has no TPUs")
    for what, state, settled in (("cluster", cluster.state, _CLUSTER_SETTLED), ("pool", pool.state, _POOL_SETTLED)):
        if not settled.get(state, False):
            return Keep(f"the {what} is {state}")
    if pool.nodes is None:
        return Keep("how many nodes it has is not known")
    if pool.nodes == 0:
        return Keep("it has no nodes")
    if pods is None:
        return Keep("the cluster's Pods are not known")
    user = next((pod for pod in pods if _may_use(pod, pool)), None)
    if user is not None:
        return Keep(f"Pod {user.namespace}/{user.name} asks for TPUs")
    return _idle(
        f"{pool.nodes} {'nodes' if pool.nodes > 1 else 'node'} and no Pod that asks for TPUs", since, now, settings
    )


def cluster_verdict(
    cluster: ClusterFacts, pods: Sequence[PodFacts] | None, since: float, now: float, settings: ClusterSettings
) -> Keep | Idle:
    """Whether the cluster serves nobody: running, no TPU node, and no Pod of a user, not even an ended one."""
    if not settings.delete_idle:
        return Keep("deleting an idle cluster is not switched on")
    if cluster.state != "RUNNING":  # ERROR and DEGRADED are for a person to look at
        return Keep(f"the cluster is {cluster.state}")
    for pool in cluster.pools:
        if not _POOL_SETTLED.get(pool.state, False):
            return Keep(f"pool {pool.name} is {pool.state}")
        if pool.tpu and pool.nodes != 0:
            return Keep(f"pool {pool.name} has {'nobody knows how many' if pool.nodes is None else pool.nodes} nodes")
    if pods is None:
        return Keep("the cluster's Pods are not known")
    user = next((pod for pod in pods if pod.users), None)
    if user is not None:
        return Keep(f"Pod {user.namespace}/{user.name} is there ({user.phase})")
    return _idle("no TPU node and no Pod of a user", since, now, settings)


def _may_use(pod: PodFacts, pool: PoolFacts) -> bool:
    """Whether a Pod runs in this pool or may be just coming to it, as far as its selector tells."""
    if not pod.tpu or pod.phase in _ENDED:
        return False
    is_ = {
        _POOL: pool.name,
        _TOPOLOGY: pool.topology,  # GKE tells it of multi-host pools alone
        _ACCELERATOR: _ACCELERATORS.get(pool.machine_type.partition("-")[0], ""),
    }
    return all(not value or pod.selector.get(label, value) == value for label, value in is_.items())


def _idle(reason: str, since: float, now: float, settings: ClusterSettings) -> Idle:
    if not since:
        return Idle(f"{reason}; it goes in {_minutes(settings.idle_s)} unless that changes", now, False)
    if now < since + settings.idle_s:
        return Idle(f"{reason} for {_minutes(now - since)}", since, False)
    return Idle(f"{reason} for {_minutes(now - since)}", since, True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
