"""One simulator: its services on one port of 127.0.0.1, its workers, its folder, from start to orderly end."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from launcher.sim import admin, gcs, guard, services, tpu
from launcher.sim.addresses import Addresses
from launcher.sim.clock import Clock
from launcher.sim.faults import Faults
from launcher.sim.folder import Folder, FolderError, FolderInUse
from launcher.sim.hosts import Hosts
from launcher.sim.http import google_error
from launcher.sim.misbehaving import Misbehaving
from launcher.sim.ports import PortError, listen
from launcher.sim.state import State
from launcher.sim.timed import Timed
from launcher.sim.tpu_lifecycle import Lifecycle

if TYPE_CHECKING:
    from launcher.sim.workers import WorkerHost

#: Exit codes of `serve`.
FAILED, IN_USE = 1, 3
#: What the last line of the log starts with when the simulator could not start.
ERROR_PREFIX = "error: "

_SHUTDOWN_S = 1  # how long requests that are under way may take to end
_WATCH_S = 2.0  # how often the simulator looks whether it is still wanted


@dataclass(frozen=True)
class Options:
    """How to serve. `delays_s`: phase -> seconds; `idle_exit_s`: end when empty and unused for so long.

    `kept`: the parent process is a keeper.
    """

    folder: Path
    port: int = 0
    project: str = "simulated-project"
    bucket: str = "simulated-jobs"
    control_bucket: str = "simulated-control"
    delays_s: Mapping[str, float] = field(default_factory=dict)
    idle_exit_s: float | None = None
    kept: bool = False


def serve(options: Options) -> int:
    """Serve until told to stop. Returns the exit code; what went wrong is on stderr, its last line the reason."""
    folder = Folder(options.folder)
    try:
        folder.prepare()
        folder.lock()
        with listen(options.port) as listener:
            asyncio.run(_Simulator(options, folder, listener).run())
    except FolderInUse as error:
        print(f"{ERROR_PREFIX}{error}", file=sys.stderr)
        return IN_USE
    except (FolderError, PortError) as error:
        print(f"{ERROR_PREFIX}{error}", file=sys.stderr)
        return FAILED
    return 0


class _Simulator:
    """Wires the services together. Lives inside one event loop."""

    def __init__(self, options: Options, folder: Folder, listener: socket.socket) -> None:
        self._options = options
        self._folder = folder
        self._listener = listener
        self._host: WorkerHost | None = None
        self._host_lock = asyncio.Lock()
        self._clock = Clock(folder.path / "clock")
        self._faults = Faults()
        self._state = State(folder.path / "state.json")
        addresses = Addresses(self._state)
        self._ssh_port = addresses.port("ssh_port")
        self._metadata_port = addresses.port("metadata_port")
        self._state.save()
        self._lifecycle = Lifecycle(self._state, self._clock, self._faults, self._worker_host, options.delays_s)
        self._port: int = listener.getsockname()[1]
        self._url = f"http://127.0.0.1:{self._port}"
        self._clock.follow(self._lifecycle.tasks.under_way)
        self._last_request = time.monotonic()  # really, as long as the simulator lives
        self._server = _Server(self._config(), self._serving)

    async def run(self) -> None:
        """Serve until asked to stop, then end every worker and take the note away."""
        # uvicorn raises the signal that stopped it again, after its own shutdown: ours comes after that.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._shut_down)
        watcher = asyncio.create_task(self._watch())
        try:
            await self._lifecycle.resume()
            await self._server.serve(sockets=[self._listener])
        finally:
            watcher.cancel()
            await self._lifecycle.close()
            if self._host is not None:
                await self._host.close()
            self._folder.forget()

    def _serving(self) -> None:
        self._folder.note(self._where())
        # The SSH library takes most of a second to import: begin now, not when the first node boots.
        self._warm_up = asyncio.create_task(self._worker_host())

    def _where(self) -> dict[str, Any]:
        return {
            "tpu": self._url,
            "storage": self._url,
            "project": self._options.project,
            "bucket": self._options.bucket,
            "control_bucket": self._options.control_bucket,
            "state_dir": str(self._folder.path),
            "pid": os.getpid(),
            "keeper_pid": os.getppid() if self._options.kept else None,
            "ssh_port": self._ssh_port,
            "peers_checked": guard.peers_can_be_checked(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _config(self) -> uvicorn.Config:
        options = self._options
        store = gcs.Store(self._folder.path / "gcs", clock_us=lambda: int(self._clock.now() * 1e6))
        for bucket in (options.bucket, options.control_bucket):
            store.create_bucket(bucket, project=options.project, exist_ok=True)
        backend = services.Backend(
            services.Store(self._folder.path / "services.json"), self._clock, self._faults, options.project
        )
        app = Starlette(
            routes=[
                *tpu.routes(self._lifecycle, options.project),
                *admin.routes(self._where(), self._lifecycle, self._faults, self._clock, self._shut_down),
                *gcs.routes(store, unavailable=lambda: self._faults.take("gcs-503") is not None),
                *services.routes(backend),
            ],
            exception_handlers={HTTPException: _no_such_route},
        )
        return uvicorn.Config(
            self._counting(Timed(guard.Guard(Hosts(Misbehaving(app, backend)), self._port), self._clock)),
            http=guard.GuardedProtocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            server_header=False,
            date_header=False,
        )

    def _counting(self, app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope.get("path") != admin.STATUS_PATH:
                self._last_request = time.monotonic()
            await app(scope, receive, send)

        return counted

    async def _worker_host(self) -> WorkerHost:
        async with self._host_lock:
            if self._host is None:
                module = await asyncio.to_thread(importlib.import_module, "launcher.sim.workers")
                self._host = module.WorkerHost(
                    state_dir=self._folder.path,
                    ssh_port=self._ssh_port,
                    metadata_port=self._metadata_port,
                    environment={"STORAGE_EMULATOR_HOST": self._url},
                    peer_allowed=guard.peer_is_same_user,
                    clock=self._clock,
                )
            return self._host

    async def _watch(self) -> None:
        """End the simulator when it is idle for too long, or nobody can find it any more."""
        limit_s = self._options.idle_exit_s
        while True:
            await asyncio.sleep(_WATCH_S if limit_s is None else min(limit_s / 4, _WATCH_S))
            if self._state.nodes or self._state.queued_resources:
                self._last_request = time.monotonic()
            idle_s = time.monotonic() - self._last_request
            if (limit_s is not None and idle_s > limit_s) or not self._folder.is_still_ours():
                self._shut_down()

    def _shut_down(self) -> None:
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn that says when it serves."""

    def __init__(self, config: uvicorn.Config, serving: Any) -> None:
        super().__init__(config)
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, then call back."""
        await super().startup(sockets)
        self._serving()


async def _no_such_route(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return google_error(code, f"The simulator has no {request.method} {request.url.path}.", reason="notFound")
