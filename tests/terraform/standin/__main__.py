"""python -m tests.terraform.standin: serves the providers to the Terraform processes of many folders.

Each line of standard input is {"cwd": FOLDER, "env": {NAME: VALUE}}: where Terraform will run, and the provider's
environment there. The answer is one line: the value of TF_REATTACH_PROVIDERS. It ends with its input.
With `--reattach [FOLDER]` it answers for one folder, with its own environment, and serves until it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tests.terraform.standin.protocol import RPC
from tests.terraform.standin.provider import Provider
from tests.terraform.standin.schema import PROVIDERS
from tests.terraform.standin.wire import decode, encode

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def _serve(provider: Provider) -> tuple[grpc.Server, int]:
    """A server of one provider, and its port. Over TCP, because there each connection has a name of its own."""

    def handler(method: str) -> grpc.RpcMethodHandler:
        request, response = RPC[method]
        answer = getattr(provider, method)

        def handle(raw: bytes, context: grpc.ServicerContext) -> bytes:
            return encode(response, answer(decode(request, raw), context.peer()))

        return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.server(futures.ThreadPoolExecutor(16), options=_UNLIMITED)
    nothing_to_say = grpc.unary_stream_rpc_method_handler(lambda raw, context: iter(()))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("tfplugin5.Provider", {method: handler(method) for method in RPC}),
            grpc.method_handlers_generic_handler("plugin.GRPCStdio", {"StreamStdio": nothing_to_say}),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _reattach(cwd: Path, env: Mapping[str, str], servers: list[grpc.Server]) -> str:
    found: dict[str, Any] = {}
    for name in PROVIDERS:
        server, port = _serve(Provider(name, cwd, env))
        servers.append(server)
        found[f"registry.terraform.io/hashicorp/{name}"] = {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    return json.dumps(found)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it, whose end it notices
    servers: list[grpc.Server] = []
    if sys.argv[1:2] == ["--reattach"]:
        print(_reattach(Path(*sys.argv[2:3]).absolute(), os.environ, servers), flush=True)
        servers[0].wait_for_termination()
    for line in sys.stdin:
        asked = json.loads(line)
        print(_reattach(Path(asked["cwd"]), asked["env"], servers), flush=True)
    os._exit(0)  # a request that still waits for an operation is nobody's any more


if __name__ == "__main__":
    main()
