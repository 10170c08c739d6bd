"""The simulator's own routes for what is behind its services: where functions are served, which Pods a cluster has."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.services.backend import Backend
from launcher.sim.services.body import json_body
from launcher.sim.state import Body

_CONTAINER = "container.googleapis.com"
_HERE = re.compile(r"http://(127\.0\.0\.1|localhost):\d+")


def routes(backend: Backend) -> list[Route]:
    """POST /_sim/route and /_sim/pods."""

    async def route(request: Request) -> Response:
        """{"uri": U, "url": "http://127.0.0.1:PORT"}: from now on a call to U goes there; url null: to nobody."""
        body = await json_body(request)
        uri, url = body.get("uri"), body.get("url")
        if not isinstance(uri, str) or urlsplit(uri).scheme not in ("http", "https"):
            raise GoogleError(400, 'expected {"uri": "https://…", "url": "http://127.0.0.1:PORT" or null}')
        if url is None:
            backend.store.served.pop(uri.rstrip("/"), None)
        elif isinstance(url, str) and _HERE.fullmatch(url.rstrip("/")):
            backend.store.served[uri.rstrip("/")] = url.rstrip("/")
        else:
            raise GoogleError(400, f"{url!r} is not on this machine: only http://127.0.0.1:PORT can be called")
        backend.store.save()
        return json_answer({"served": backend.store.served})

    async def pods(request: Request) -> Response:
        """{"cluster": name, "pods": […]}: what the cluster's Kubernetes API lists from now on."""
        body = await json_body(request)
        name = _cluster(backend, str(body.get("cluster", "")))
        wanted = body.get("pods")
        if not isinstance(wanted, list) or not all(isinstance(each, dict) for each in wanted):
            raise GoogleError(400, 'expected {"cluster": name, "pods": [{…}, …]}')
        backend.store.pods[name] = wanted
        backend.store.save()
        return json_answer({"cluster": name, "pods": len(wanted)})

    return [
        Route("/_sim/route", answering(route), methods=["POST"]),
        Route("/_sim/pods", answering(pods), methods=["POST"]),
    ]


def pods_of(backend: Backend, endpoint: str) -> list[Body]:
    """The Pods of the cluster whose DNS endpoint this is. 404 where there is none."""
    for key, body in backend.store.resources.items():
        dns = body.get("controlPlaneEndpointsConfig", {}).get("dnsEndpointConfig", {})
        if key.startswith(f"{_CONTAINER}/") and dns.get("endpoint") == endpoint:
            return backend.store.pods.get(key.removeprefix(f"{_CONTAINER}/"), [])
    raise GoogleError(404, f"No cluster has the DNS endpoint {endpoint}.")


def _cluster(backend: Backend, name: str) -> str:
    """The full name of a cluster, given by that or by its last part."""
    names = [key.removeprefix(f"{_CONTAINER}/") for key in backend.store.resources if key.startswith(f"{_CONTAINER}/")]
    found = [each for each in names if each.split("/")[-2] == "clusters" and f"/{each}".endswith(f"/{name}")]
    if len(found) != 1:
        raise GoogleError(404, f"there is no one cluster called {name!r}")
    return found[0]
