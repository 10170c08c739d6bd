"""GKE clusters, the size of their node pools, and their Pods, over REST."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from launcher.cloud import credentials as _credentials
from launcher.cloud.retry import Call, Deadline, with_retries
from launcher.cloud.seams import Clock, SystemClock
from launcher.config import Profile
from launcher.errors import InvalidRequest, NotFound
from launcher.records.clusters import ClusterFacts, PodFacts, PoolFacts

_REQUEST_TIMEOUT_S = 30.0
_PODS_AT_ONCE = 500
_GROUP = re.compile(r"/(projects/[^/]+/zones/[^/]+/)instanceGroup(?:Manager)?s/([^/]+)$")
_TPU_RESOURCE = "google.com/tpu"
_HOST = re.compile(r"[a-z0-9.-]+")


class Gke:
    """A ClusterService. Thread-safe; google's libraries are imported at the first call.

    `timeout_s`: how long one call is repeated while an API is unavailable.
    """

    def __init__(self, profile: Profile, *, clock: Clock | None = None, timeout_s: float = 10.0) -> None:
        self._profile = profile
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s

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
        base = (
            f"{_base(self._profile.kubernetes_endpoint)}/{host}"
            if self._profile.kubernetes_endpoint
            else f"https://{host}"
        )
        found: list[PodFacts] = []
        token = ""
        while True:
            page = {"limit": str(_PODS_AT_ONCE)} | ({"continue": token} if token else {})
            answer = self._ask(about, "GET", f"{base}/api/v1/pods", params=page)
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
                manager = self._ask(about, "GET", f"{_base(self._profile.compute_endpoint)}/compute/v1/{path}")
            except NotFound:
                yield None
            else:
                yield manager.get("targetSize")

    def _cluster_url(self, location: str, cluster: str) -> str:
        parent = f"projects/{self._profile.project}/locations/{location}"
        return f"{_base(self._profile.container_endpoint)}/v1/{parent}/clusters/{cluster}"

    @functools.cached_property
    def _session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        session = AuthorizedSession(_credentials.load(self._profile.credentials))  # type: ignore[no-untyped-call]
        session.trust_env = self._profile.container_endpoint.startswith("https:")  # no proxy leads to a simulator
        return session

    def _ask(self, about: Call, method: str, url: str, **options: Any) -> Any:
        from google.api_core.exceptions import from_http_status

        def ask() -> Any:
            answer = self._session.request(method, url, timeout=_REQUEST_TIMEOUT_S, allow_redirects=False, **options)
            if 200 <= answer.status_code < 300:
                return answer.json()
            raise from_http_status(  # type: ignore[no-untyped-call]  # google-api-core is partly untyped
                answer.status_code, answer.text, response=answer
            )

        return with_retries(ask, about, clock=self._clock, deadline=Deadline(self._clock, self._timeout_s))

    def _about(self, action: str, permission: str, role: str, service: str = "container") -> Call:
        project = self._profile.project
        return Call(
            action=f"{action} in project {project}",
            resource=f"project {project}",
            project=project,
            service=f"{service}.googleapis.com",
            permission=permission,
            member=_credentials.member(_credentials.load(self._profile.credentials)),
            grant=f"gcloud projects add-iam-policy-binding {project} --role=roles/{role} --member={{member}}",
            missing=f"See what there is: gcloud container clusters list --project {project}",
        )


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


def _base(endpoint: str) -> str:
    return endpoint.rstrip("/")
