"""The simulator's own routes under /_sim/: status, faults, shutdown. `launcher sim` talks to these."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim import faults as fault_names
from launcher.sim.faults import Faults, UnknownFault
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.tpu_lifecycle import Lifecycle

STATUS_PATH = "/_sim/status"


def routes(where: dict[str, Any], lifecycle: Lifecycle, faults: Faults, shut_down: Callable[[], None]) -> list[Route]:
    """The control routes. `where` is what the state folder's note says; `shut_down` begins an orderly end."""

    async def status(_: Request) -> Response:
        return json_answer(
            {
                **where,
                "workers": _workers(lifecycle, where["ssh_port"]),
                "nodes": sorted(lifecycle.state.nodes),
                "queued_resources": sorted(lifecycle.state.queued_resources),
                "faults": faults.pending(),
            }
        )

    async def inject(request: Request) -> Response:
        name, node, zone, count = _injection(await request.body())
        if name in fault_names.IMMEDIATE:
            struck = await lifecycle.strike(name, node=node, zone=zone, count=count)
            if not struck:
                place = " ".join(filter(None, (node and f"called {node!r}", zone and f"in {zone}")))
                raise GoogleError(404, f"no node{' ' + place if place else ''} is READY", "NOT_FOUND")
            return json_answer({"name": name, "nodes": struck})
        try:
            faults.inject(name, node=node, zone=zone, count=count)
        except (UnknownFault, ValueError) as error:
            raise GoogleError(400, str(error)) from error
        return json_answer({"name": name, "armed": count})

    async def shutdown(_: Request) -> Response:
        shut_down()
        return json_answer({})

    return [
        Route(STATUS_PATH, answering(status), methods=["GET"]),
        Route("/_sim/inject", answering(inject), methods=["POST"]),
        Route("/_sim/shutdown", answering(shutdown), methods=["POST"]),
    ]


def _workers(lifecycle: Lifecycle, ssh_port: int) -> list[dict[str, Any]]:
    return [
        {"node": name, "worker": worker.spec.worker, "host": worker.spec.address, "port": ssh_port}
        for name, node in sorted(lifecycle.state.nodes.items())
        if node["state"] == "READY"
        for worker in lifecycle.workers_of(name)
    ]


def _injection(content: bytes) -> tuple[str, str | None, str | None, int]:
    try:
        wanted = json.loads(content)
        name, node, zone = wanted["name"], wanted.get("node"), wanted.get("zone")
        count = int(wanted.get("count", 1))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GoogleError(400, 'expected {"name": …, "node": …, "zone": …, "count": N}') from error
    if name not in fault_names.NAMES:
        raise GoogleError(400, str(UnknownFault(name)))
    if count < 1:
        raise GoogleError(400, f"count is {count}; it must be at least 1")
    return name, node, zone, count
