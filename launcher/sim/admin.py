"""The simulator's own routes under /_sim/: status, faults, time, shutdown. `launcher sim` talks to these."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim import catalog
from launcher.sim.clock import Clock, timestamp
from launcher.sim.faults import AT_ONCE, NEXT, STANDING, FaultError, Faults, checked, kind_of, matches
from launcher.sim.http import GoogleError, answering, json_answer
from launcher.sim.tpu_lifecycle import Lifecycle

STATUS_PATH = "/_sim/status"
_LONGEST_S = 366 * 86400


def routes(
    where: dict[str, Any], lifecycle: Lifecycle, faults: Faults, clock: Clock, shut_down: Callable[[], None]
) -> list[Route]:
    """The control routes. `where` is what the state folder's note says; `shut_down` begins an orderly end."""

    async def status(_: Request) -> Response:
        return json_answer(
            {
                **where,
                "workers": _workers(lifecycle, where["ssh_port"]),
                "nodes": sorted(lifecycle.state.nodes),
                "queued_resources": sorted(lifecycle.state.queued_resources),
                "faults": faults.pending(),
                **(_time(clock) if clock.ahead_s else {}),
            }
        )

    async def advance(request: Request) -> Response:
        await clock.advance(_seconds(await request.body()))
        return json_answer(_time(clock))

    async def inject(request: Request) -> Response:
        try:
            answer = await _inject(_injection(await request.body()), lifecycle, faults)
        except FaultError as error:
            raise GoogleError(400, str(error)) from error
        if answer["name"] == "clock-skew":
            lifecycle.set_clocks()
        return json_answer(answer)

    async def shutdown(_: Request) -> Response:
        shut_down()
        return json_answer({})

    return [
        Route(STATUS_PATH, answering(status), methods=["GET"]),
        Route("/_sim/inject", answering(inject), methods=["POST"]),
        Route("/_sim/advance", answering(advance), methods=["POST"]),
        Route("/_sim/shutdown", answering(shutdown), methods=["POST"]),
    ]


def _time(clock: Clock) -> dict[str, Any]:
    return {"time": timestamp(clock.now()), "ahead_s": clock.ahead_s}


def _seconds(content: bytes) -> float:
    try:
        seconds = float(json.loads(content)["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise GoogleError(400, 'expected {"seconds": S}') from error
    if not 0 < seconds <= _LONGEST_S:
        raise GoogleError(400, f"time can be advanced by more than 0 s and at most {_LONGEST_S} s at once")
    return seconds


def _workers(lifecycle: Lifecycle, ssh_port: int) -> list[dict[str, Any]]:
    return [
        {"node": name, "worker": worker.spec.worker, "host": worker.spec.address, "port": ssh_port}
        for name, node in sorted(lifecycle.state.nodes.items())
        if node["state"] == "READY"
        for worker in lifecycle.workers_of(name)
    ]


async def _inject(wanted: dict[str, Any], lifecycle: Lifecycle, faults: Faults) -> dict[str, Any]:
    """Take back, strike at once, or leave to come. What was done, for `launcher sim inject`."""
    off = wanted.pop("off")
    kind, name, node, zone = kind_of(wanted["name"]), wanted["name"], wanted["node"], wanted["zone"]
    if zone is not None and zone not in catalog.ZONES:
        raise GoogleError(404, f"there is no zone {zone!r}; there are: {', '.join(catalog.ZONES)}")
    if off:
        del wanted["count"]
        if not (cleared := faults.clear(**wanted)):
            raise GoogleError(404, f"no {name}{_place(node, zone)} waits or stands; see: launcher sim status")
        return {"name": name, "cleared": cleared}
    checked(**wanted)
    if AT_ONCE in kind.when:
        if struck := await lifecycle.strike(name, node=node, zone=zone, count=wanted["count"]):
            return {"name": name, "nodes": struck}
        if NEXT not in kind.when or node is not None:
            raise GoogleError(404, f"no node{_place(node, zone)} is {'READY' if NEXT not in kind.when else 'there'}")
    if STANDING in kind.when and node is not None and not any(matches(node, each) for each in lifecycle.state.nodes):
        raise GoogleError(404, f"there is no node{_place(node, zone)}")
    faults.inject(**wanted)
    return {"name": name, "standing": True} if STANDING in kind.when else {"name": name, "armed": wanted["count"]}


def _place(node: str | None, zone: str | None) -> str:
    return "".join(f" {part}" for part in (node and f"called {node!r}", zone and f"in {zone}") if part)


def _injection(content: bytes) -> dict[str, Any]:
    """The arguments of Faults.inject, and `off`."""
    try:
        wanted = json.loads(content)
        return {
            "name": str(wanted["name"]),
            "node": wanted.get("node"),
            "zone": wanted.get("zone"),
            "count": int(wanted.get("count", 1)),
            "value": wanted.get("value"),
            "off": bool(wanted.get("off", False)),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"name": …, "node": …, "zone": …, "count": N, "value": …, "off": …}'
        raise GoogleError(400, f"expected {form}") from error
