"""Which service and permissions a request to one of the services in the tables is about."""

from __future__ import annotations

from launcher.sim.google_calls import TITLES as _OTHERS
from launcher.sim.google_calls import GoogleCall
from launcher.sim.services.routes import match
from launcher.sim.services.tables import SERVICES

#: host -> the API's name in Google's message that it is disabled.
TITLES = {**_OTHERS, **{service.host: service.title for service in SERVICES.values()}}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}


def identify(method: str, raw_path: bytes) -> GoogleCall | None:
    """What a request asks Google for; None for one of the simulator's own. Operations and parents need nothing."""
    parts = raw_path.decode("latin-1").split("/")[1:]
    service = SERVICES.get(parts[0])
    if service is None:
        return GoogleCall(parts[0]) if parts[0] in TITLES else None
    matched = match(service, parts)
    if matched is None:
        return GoogleCall(service.host)
    kind, parent, identifier, action = matched
    verb = action or ("get" if identifier else "list") if method == "GET" or action else _VERBS[method]
    if method == "PUT" and kind.id_in == "PUT":
        verb = "create"
    # Whatever is done with a node pool, or set in a cluster, is an update of the cluster.
    if service.host == "container.googleapis.com" and verb not in ("get", "list"):
        verb = verb if kind.leaf == "clusters" and verb in ("create", "delete") else "update"
    permission = kind.permission or f"{service.host.partition('.')[0]}.{kind.leaf}"
    resource = "/".join([*parent, kind.leaf, *([identifier] if identifier else [])])
    writes = verb not in ("get", "list", "access", "getIamPolicy", "testIamPermissions")
    paged = "" if verb != "list" else "maxResults" if parts[1] == "compute" else "pageSize"
    needed = () if verb == "testIamPermissions" else (f"{permission}.{verb}",)
    return GoogleCall(service.host, needed, resource, writes=writes, paged=paged)
