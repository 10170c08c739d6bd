"""Kubernetes Engine: clusters, their node pools with instance groups of a size, and the Pods somebody put there."""

from __future__ import annotations

import hashlib
from typing import Any

from launcher.sim.google_calls import PROJECT_NUMBER
from launcher.sim.http import GoogleError
from launcher.sim.services.backend import COMPUTE, SIMULATOR, Call, invalid
from launcher.sim.services.handler import finished
from launcher.sim.state import Body

_VERSION = "1.34.1-gke.100"
_DEFAULT_POOL = "default-pool"


def cluster(call: Call, body: Body) -> Body:
    """A running cluster. It has a DNS endpoint where one from outside may use it."""
    region = call.location
    zonal = {"zone": region} if region[-2] == "-" else {}  # the provider takes it out of the further zones
    zones = [region] if zonal else body.get("locations") or [f"{region}-a"]
    networks = {name: body[name] for name in ("network", "subnetwork") if name in body}
    endpoints: dict[str, Any] = body.get("controlPlaneEndpointsConfig") or {}
    dns = endpoints.get("dnsEndpointConfig") or {}
    if dns.get("allowExternalTraffic"):
        dns = {"endpoint": _dns_endpoint(call, region), **dns}
    kept = {key: value for key, value in body.items() if key not in ("nodePools", "update")}
    shown: Body = {
        "id": call.store.number(),
        "createTime": call.backend.now(),
        "status": "RUNNING",
        "endpoint": "10.1.0.2",
        "currentMasterVersion": _VERSION,
        "initialClusterVersion": _VERSION,
        "masterAuth": {"clusterCaCertificate": "QUJD", "clientCertificateConfig": {}},
        "etag": "",
        "clusterIpv4Cidr": "10.4.0.0/14",
        "servicesIpv4Cidr": "10.8.0.0/20",
        "databaseEncryption": {"state": "DECRYPTED"},
        "nodePoolDefaults": {"nodeConfigDefaults": {}},
        "locations": zones,
        **zonal,
        **kept,
        "name": call.id,
        "location": region,
        "selfLink": _link(call),
        "networkConfig": {**body.get("networkConfig", {}), **networks},
    }
    return {**shown, "controlPlaneEndpointsConfig": {**endpoints, "dnsEndpointConfig": dns}} if dns else shown


def cluster_changed(call: Call, verb: str) -> None:
    """A cluster is made with the node pools that were sent, or with one; with the cluster its instance groups go."""
    pools = {key: pool for key, pool in call.store.resources.items() if key.startswith(f"{call.key}/nodePools/")}
    if verb == "delete":
        for pool in pools.values():
            _forget_groups(call, pool)
        call.store.pods.pop(call.name, None)
    else:
        size = call.existing().get("initialNodeCount", 1)
        default = {"name": _DEFAULT_POOL, "initialNodeCount": size, "config": {"machineType": "e2-medium"}}
        for body in call.body["cluster"].get("nodePools") or [default]:
            pool = _pool(call, f"{call.name}/nodePools", body)
            call.store.resources[f"{call.key}/nodePools/{pool['name']}"] = pool


def with_pools(call: Call, body: Body) -> Body:
    """A cluster as a reader sees it."""
    prefix = f"{call.service.host}/{call.collection}/{body['name']}/nodePools/"
    pools = [pool for key, pool in sorted(call.store.resources.items()) if key.startswith(prefix)]
    nodes = sum(_size(call, pool) for pool in pools)
    return {**body, "nodePools": pools, **({"currentNodeCount": nodes} if nodes else {})}


def node_pool(call: Call, body: Body) -> Body:
    """A running node pool, with an instance group for each of its zones."""
    return _pool(call, call.collection, body)


def pool_changed(call: Call, verb: str) -> None:
    """With a node pool its instance groups go."""
    if verb == "delete":
        _forget_groups(call, call.existing())


def update_cluster(call: Call) -> Body:
    """PUT of {"update": {"desiredX": …}}: sets x."""
    change = call.body.get("update")
    if not isinstance(change, dict) or not change:
        raise invalid("Must specify a field to update.")
    wanted = {_lower(key.removeprefix("desired")): value for key, value in change.items()}
    return _changed(call, wanted)


def update_pool(call: Call) -> Body:
    """PUT of the fields that change; those of the nodes are in `config` when they are read."""
    outside = {"locations", "upgradeSettings", "networkConfig"}
    config = {key: value for key, value in call.body.items() if key not in outside}
    change: Body = {key: value for key, value in call.body.items() if key in outside}
    return _changed(call, change | {"config": {**call.existing().get("config", {}), **config}} if config else change)


def set_field(call: Call) -> Body:
    """POST …:setX of {x: …}."""
    name = _lower(call.action.removeprefix("set"))
    if name not in call.body:
        raise invalid(f"Required field '{name}' is not set.")
    return _changed(call, {name: call.body[name]})


def set_size(call: Call) -> Body:
    """POST …:setSize: so many nodes in each zone."""
    count = call.body.get("nodeCount", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise invalid("Invalid value at 'node_count' (TYPE_INT32).")
    pool = call.existing()
    for key in _group_keys(pool):
        call.store.resources[key]["targetSize"] = count
    done = finished(call, "update", pool)
    return done | {"operationType": "SET_NODE_POOL_SIZE"}


def pods(call_pods: list[Body], query: dict[str, str]) -> Body:
    """A PodList, or the part of it that `limit` and `continue` ask for."""
    start, limit = query.get("continue") or "0", query.get("limit") or "0"
    if not (start.isdecimal() and limit.isdecimal()):
        raise GoogleError(400, "limit and continue must be numbers that the list gave.", reason="BadRequest")
    end = int(start) + (int(limit) or len(call_pods))
    more = {"continue": str(end)} if end < len(call_pods) else {}
    metadata = {"resourceVersion": "1", **more}
    return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": call_pods[int(start) : end]}


def _pool(call: Call, collection: str, body: Body) -> Body:
    name = f"{collection}/{body['name']}"
    owner = call.store.resources[f"{call.service.host}/{collection.removesuffix('/nodePools')}"]
    zones = body.get("locations") or owner["locations"]
    scaling = body.get("autoscaling") or {}
    size = max(body.get("initialNodeCount", 0), scaling.get("minNodeCount", 0) if scaling.get("enabled") else 0)
    pool: Body = {
        "locations": zones,
        "status": "RUNNING",
        "version": _VERSION,
        "podIpv4CidrSize": 24,
        "etag": "",
        "maxPodsConstraint": {"maxPodsPerNode": "110"},
        "upgradeSettings": {"maxSurge": 1, "strategy": "SURGE"},
        **body,
        "selfLink": f"{SIMULATOR}/{call.service.host}/v1/{name}",
    }
    pool["instanceGroupUrls"] = [_group(call, name, zone, size) for zone in zones]
    return pool


def _group(call: Call, pool: str, zone: str, size: int) -> str:
    """The URL of a pool's instance group in a zone; it is made with `size` nodes if it is not there."""
    short = f"gke-{'-'.join(pool.split('/')[5::2])}-{hashlib.sha256(pool.encode()).hexdigest()[:8]}-grp"
    name = f"projects/{call.backend.project}/zones/{zone}/instanceGroupManagers/{short}"
    link = f"{SIMULATOR}/{COMPUTE}/compute/v1/{name}"
    group = {
        "kind": "compute#instanceGroupManager",
        "name": short,
        "zone": zone,
        "selfLink": link,
        "instanceGroup": link.replace("/instanceGroupManagers/", "/instanceGroups/"),
        "targetSize": size,
    }
    call.store.resources.setdefault(f"{COMPUTE}/{name}", group)
    return link


def _group_keys(pool: Body) -> list[str]:
    return [f"{COMPUTE}/{url.partition('/compute/v1/')[2]}" for url in pool["instanceGroupUrls"]]


def _forget_groups(call: Call, pool: Body) -> None:
    for key in _group_keys(pool):
        call.store.forget(key)


def _size(call: Call, pool: Body) -> int:
    return sum(call.store.resources[key]["targetSize"] for key in _group_keys(pool))


def _changed(call: Call, change: Body) -> Body:
    changed = {**call.existing(), **change}
    call.store.resources[call.key] = call.kind.fill(call, changed)
    return finished(call, "update", changed)


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _link(call: Call) -> str:
    return f"{SIMULATOR}/{call.service.host}/v1/{call.name}"


def _dns_endpoint(call: Call, region: str) -> str:
    number = hashlib.sha256(call.name.encode()).hexdigest()[:32]
    return f"gke-{number}-{PROJECT_NUMBER}.{region}.gke.goog"
