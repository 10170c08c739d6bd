"""A simulated Cloud Storage served over HTTP, for tests: no other part of the simulator is needed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from launcher.sim.gcs import Store, routes

PROJECT = "simulated-project"
BUCKET = "simulated-jobs"


@dataclass
class Answer:
    """What came back: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The API's reason in an error body."""
        reason: str = self.json()["error"]["errors"][0]["reason"]
        return reason


@dataclass
class GcsServer:
    """A running server. `failures` requests from now on are answered 503."""

    store: Store
    port: int
    failures: int = 0
    clients: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take_failure(self) -> bool:
        if self.failures == 0:
            return False
        self.failures -= 1
        return True

    def client(self) -> Any:
        """A google-cloud-storage client of this server."""
        client = storage.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )
        self.clients.append(client)
        return client

    def bucket(self) -> Any:
        return self.client().bucket(BUCKET)

    def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One raw request; `path` may be an absolute URL of this server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path.removeprefix(self.url), body, dict(headers or {}))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()


class WebServer:
    """An HTTP server on a free port whose application changes: starting one takes longer than a test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.app: ASGIApp = Starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @classmethod
    @contextlib.contextmanager
    def run(cls) -> Iterator[WebServer]:
        # It listens before the server's thread runs: clients wait in the backlog, nobody polls.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            web = cls(listener.getsockname()[1])
            config = uvicorn.Config(web, http="httptools", loop="asyncio", lifespan="off", log_level="error")
            runner = uvicorn.Server(config)
            thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield web
            finally:
                runner.should_exit = True
                thread.join()


@contextlib.contextmanager
def serve(web: WebServer, folder: Path) -> Iterator[GcsServer]:
    """Serve the store in `folder`; the bucket exists. Serving the same folder again is a restart."""
    store = Store(folder)
    store.create_bucket(BUCKET, project=PROJECT, exist_ok=True)
    server = GcsServer(store, web.port)
    web.app = Starlette(routes=routes(store, unavailable=server.take_failure))
    try:
        yield server
    finally:
        for client in server.clients:
            client.close()
        web.app = Starlette()
