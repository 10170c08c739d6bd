"""Simulated workers in this process, on an event loop of their own thread, for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from launcher.sim.clock import Clock
from launcher.sim.workers import Worker, WorkerHost, WorkerSpec

T = TypeVar("T")

USER = "ada"
TIMEOUT_S = 60
Peer = tuple[str, int]


@dataclass
class Machines:
    """A WorkerHost and a key pair that its nodes let in."""

    loop: asyncio.AbstractEventLoop
    host: WorkerHost
    state_dir: Path
    ssh_port: int
    metadata_port: int
    network: str
    key: Path
    public_key: str
    clock: Clock = field(default_factory=Clock)
    allowed: Callable[[Peer, Peer], bool] = field(default=lambda peer, local: True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, done on the loop of the workers."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What `function` returns, called on the loop of the workers."""

        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def spec(self, node: str = "node-1", *, workers: int = 1, worker: int = 0, **metadata: str) -> WorkerSpec:
        """A worker of `node` that lets USER in; metadata keys are given with `_` for `-`."""
        peers = tuple(f"{self.network}.{index + 1}" for index in range(workers))
        given = {name.replace("_", "-"): value for name, value in metadata.items()}
        return WorkerSpec(
            node=f"projects/simulated-project/locations/us-west4-a/nodes/{node}",
            worker=worker,
            num_workers=workers,
            address=peers[worker],
            peers=peers,
            accelerator_type="v5litepod-4",
            zone="us-west4-a",
            project="simulated-project",
            metadata={"ssh-keys": f"{USER}:{self.public_key}", **given},
            chips=4,
        )

    def boot(self, spec: WorkerSpec | None = None, *, first: bool = True) -> Worker:
        """A running worker."""
        return self.run(self.host.boot(spec or self.spec(), first=first))

    def restart(self) -> None:
        """Close the host, and make a new one on the same folder."""
        self.run(self.host.close())
        self.host = self.call(self._new_host)

    def _new_host(self) -> WorkerHost:
        return WorkerHost(
            state_dir=self.state_dir,
            ssh_port=self.ssh_port,
            metadata_port=self.metadata_port,
            environment={"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"},
            peer_allowed=lambda peer, local: self.allowed(peer, local),
            clock=self.clock,
        )

    def known_hosts(self, worker: Worker, folder: Path) -> Path:
        """A known_hosts file made from the guest attributes, as a careful client makes it."""
        file = folder / "known_hosts"
        key = worker.guest_attributes["hostkeys"]["ssh-ed25519"]
        file.write_text(f"[{worker.spec.address}]:{self.ssh_port} ssh-ed25519 {key}\n")
        return file

    def options(self, worker: Worker, folder: Path, key: Path | None = None) -> list[str]:
        """What ssh, scp and sftp need: our key only, the host's key checked, no settings of the user's."""
        known = self.known_hosts(worker, folder)
        return [
            *("-F", "none", "-i", str(key or self.key), "-o", f"Port={self.ssh_port}", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none", "-o", "LogLevel=ERROR"),
        ]

    def ssh(
        self,
        worker: Worker,
        folder: Path,
        *command: str,
        user: str = USER,
        key: Path | None = None,
        options: tuple[str, ...] = (),
        **popen: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        """What OpenSSH's client says to `command`."""
        argv = ["ssh", *self.options(worker, folder, key), *options, f"{user}@{worker.spec.address}", *command]
        popen.setdefault("stdin" if "input" not in popen else "input", subprocess.DEVNULL)
        return subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, check=False, **popen)


def new_key(path: Path) -> str:
    """Write a private key to `path`; returns the public line."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="test")
    path.write_bytes(key.export_private_key("openssh"))
    path.chmod(0o600)
    return key.export_public_key("openssh").decode().strip()


def free_port(address: str) -> int:
    """A port that nobody listens on at `address`."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """A WorkerHost on free ports of addresses of its own; everything it started ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    network = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
    public_key = new_key(folder / "id_ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made: Machines | None = None
    try:
        made = Machines(
            loop=loop,
            host=None,  # type: ignore[arg-type]  # it needs the ports, and these the network
            state_dir=folder / "state",
            ssh_port=free_port(f"{network}.1"),
            metadata_port=free_port(f"{network}.1"),
            network=network,
            key=folder / "id_ed25519",
            public_key=public_key,
        )
        made.host = made.call(made._new_host)
        yield made
    finally:
        if made is not None:
            made.run(made.host.close())
            made.run(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def with_metadata(spec: WorkerSpec, **metadata: str) -> WorkerSpec:
    """`spec` with some metadata more; keys are given with `_` for `-`."""
    given = {name.replace("_", "-"): value for name, value in metadata.items()}
    return replace(spec, metadata={**spec.metadata, **given})


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before or while it was read
        return False
    return state != "Z"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition` holds; fail after TIMEOUT_S."""
    deadline = threading.Event()
    timer = threading.Timer(TIMEOUT_S, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.01), f"not within {TIMEOUT_S} s: {what}"
    finally:
        timer.cancel()
        timer.join()


def read_pid(file: Path) -> int:
    """The number that another process writes into `file`, once it is there."""
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"), f"a pid in {file}")
    return int(file.read_text())


def open_files() -> set[str]:
    """What this process has open, to see that nothing is left."""
    return set(os.listdir("/proc/self/fd"))
