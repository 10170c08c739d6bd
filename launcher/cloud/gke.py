"""GKE clusters, the size of their node pools, and their Pods, over REST."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from launcher.cloud.rest import RestApi, base
from launcher.cloud.retry import Call
from launcher.errors import InvalidRequest, NotFound
from launcher.records.clusters import ClusterFacts, PodFacts, PoolFacts

_PODS_AT_ONCE = 500
_GROUP = re.compile(r"/(projects/[^/]+/zones/[^/]+/)instanceGroup(?:Manager)?s/([^/]+)$")
_TPU_RESOURCE = "google.com/tpu"
_HOST = re.compile(r"[a-z0-9.-]+")


class Gke(RestApi):
    """A ClusterService."""

    def get(self, location: str, cluster: str) -> ClusterFacts | None:
        about = self._about(f"reading cluster {cluster} in {location}", "container.clusters.get", "container.viewer")
        url = self._cluster_url(location, cluster)
        try:
            found = self._ask(about, "GET", url)
            pools = self._ask(about, "GET", f"{url}/nodePools").get("nodePools", ())
        except NotFound:
            return None
        endpoints = found.get("controlPlaneEndpointsConfig", {})
        return ClusterFacts(
            name=cluster,
            location=location,
            state=found.get("status", "STATUS_UNSPECIFIED"),
            uid=found.get("id", ""),
            dns_endpoint=endpoints.get("dnsEndpointConfig", {}).get("endpoint", ""),
            labels=found.get("resourceLabels", {}),
            pools=tuple(self._pool(each) for each in pools),
        )

    def pods(self, cluster: ClusterFacts) -> tuple[PodFacts, ...]:
        host = cluster.dns_endpoint
        name = f"cluster {cluster.name} in {cluster.location}"
        about = self._about(f"listing the Pods of {name}", "container.pods.list", "container.viewer")
        if not _HOST.fullmatch(host):
            raise InvalidRequest(
                f"{about.action}: the cluster has no DNS endpoint, which is the only one that is reached from "
                "here. Turn it on: "
                f"gcloud container clusters update {cluster.name} --location {cluster.location} --enable-dns-access"
            )
        through = self._profile.kubernetes_endpoint
        url = f"{base(through)}/{host}/api/v1/pods" if through else f"https://{host}/api/v1/pods"
        found: list[PodFacts] = []
        token = ""
        while True:
            page = {"limit": str(_PODS_AT_ONCE)} | ({"continue": token} if token else {})
            answer = self._ask(about, "GET", url, params=page)
            if not isinstance(answer.get("items"), list):  # without it a wrong server would say that there are no Pods
                raise InvalidRequest(f"{about.action}: {host} answers, but not with a list of Pods.")
            found += map(_pod, answer["items"])
            token = answer.get("metadata", {}).get("continue", "")
            if not token:
                return tuple(found)

    def empty_pool(self, location: str, cluster: str, pool: str) -> None:
        action = f"setting the size of pool {pool} of cluster {cluster} in {location} to 0"
        about = self._about(action, "container.clusters.update", "container.clusterAdmin")
        self._ask(
            about, "POST", f"{self._cluster_url(location, cluster)}/nodePools/{pool}:setSize", json={"nodeCount": 0}
        )

    def delete(self, location: str, cluster: str) -> None:
        action = f"deleting cluster {cluster} in {location}"
        about = self._about(action, "container.clusters.delete", "container.clusterAdmin")
        try:
            self._ask(about, "DELETE", self._cluster_url(location, cluster))
        except NotFound:
            return

    def _pool(self, found: Any) -> PoolFacts:
        return PoolFacts(
            name=found["name"],
            state=found.get("status", "STATUS_UNSPECIFIED"),
            machine_type=found.get("config", {}).get("machineType", ""),
            topology=found.get("placementPolicy", {}).get("tpuTopology", ""),
            nodes=self._size(found),
        )

    def _size(self, found: Any) -> int | None:
        """What its instance groups are to have. GKE's own numbers are those that the pool was created with."""
        sizes = list(self._sizes(found))
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)

    def _sizes(self, found: Any) -> Iterator[int | None]:
        for url in found.get("instanceGroupUrls", ()):
            group = _GROUP.search(url)
            if group is None:
                yield None
                continue
            permission = "compute.instanceGroupManagers.get"
            about = self._about(f"reading the size of pool {found['name']}", permission, "compute.viewer", "compute")
            path = f"{group.group(1)}instanceGroupManagers/{group.group(2)}"
            try:
                manager = self._ask(about, "GET", f"{base(self._profile.compute_endpoint)}/compute/v1/{path}")
            except NotFound:
                yield None
            else:
                yield manager.get("targetSize")

    def _cluster_url(self, location: str, cluster: str) -> str:
        parent = f"projects/{self._profile.project}/locations/{location}"
        return f"{base(self._profile.container_endpoint)}/v1/{parent}/clusters/{cluster}"

    def _about(self, action: str, permission: str, role: str, service: str = "container") -> Call:
        see = f"See what there is: gcloud container clusters list --project {self._profile.project}"
        return self._call(action, f"{service}.googleapis.com", role, see, permission)


def _pod(found: Any) -> PodFacts:
    meta, spec = found["metadata"], found.get("spec", {})
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    asked = [
        container.get("resources", {}).get(kind, {}) for container in containers for kind in ("requests", "limits")
    ]
    return PodFacts(
        namespace=meta["namespace"],
        name=meta["name"],
        phase=found.get("status", {}).get("phase", "Unknown"),
        # A claim (dynamic resource allocation) does not say here what of: it may be TPUs.
        tpu=bool(spec.get("resourceClaims")) or any(each.get(_TPU_RESOURCE, "0") != "0" for each in asked),
        selector=spec.get("nodeSelector", {}),
    )
