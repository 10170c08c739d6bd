"""Simulated workers: a home folder, a process tree, an SSH server and a metadata server each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.sim import environment as settings
from launcher.sim.clock import Clock
from launcher.sim.metadata import MetadataServer, PeerAllowed
from launcher.sim.metadata_tree import Metadata, instance_name
from launcher.sim.processes import ProcessTree, kill_marked
from launcher.sim.ssh import SSHServer, new_host_key, public_half
from launcher.sim.ssh_relay import SHELL, Guest
from launcher.sim.worker_clock import WorkerClock, write_commands
from launcher.sim.worker_spec import WorkerSpec

__all__ = ["Worker", "WorkerHost", "WorkerSpec"]

#: Below the range that Linux hands out by itself (32768-60999).
_COORDINATOR_PORTS = range(15000, 30000)
_BACKLOG = 256


class _Files:
    """Where a worker keeps what outlives a boot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self.bin = folder / "bin"
        self.clock = folder / "clock"
        self.host_key = folder / "ssh_host_ed25519_key"
        self.guest_attributes = folder / "guest-attributes.json"
        self.startup_script = folder / "startup-script"
        self.startup_log = folder / "startup.log"

    def prepare(self, spec: WorkerSpec) -> dict[str, dict[str, str]]:
        """Make what is missing. Returns the guest attributes: the first boot's, and what was PUT since."""
        for folder in (self.folder, self.home, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.write_interpreters(self.bin)
        write_commands(self.bin)
        if not self.host_key.exists():
            self.write_host_key(new_host_key())
        if self.guest_attributes.exists():
            stored: dict[str, dict[str, str]] = json.loads(self.guest_attributes.read_text())
            return stored
        attributes = {
            "hostkeys": {"ssh-ed25519": public_half(self.host_key.read_bytes())},
            "hostname": {"hostname": instance_name(spec)},
        }
        self.write_guest_attributes(attributes)
        return attributes

    def write_host_key(self, key: bytes) -> None:
        """Replace the private host key."""
        _write(self.host_key, key, 0o600)

    def write_guest_attributes(self, attributes: dict[str, dict[str, str]]) -> None:
        """Replace the guest attributes."""
        _write(self.guest_attributes, json.dumps(attributes, indent=1).encode(), 0o600)


class Worker:
    """One running worker; made by WorkerHost.boot."""

    def __init__(
        self,
        spec: WorkerSpec,
        files: _Files,
        tree: ProcessTree,
        metadata: Metadata,
        peer_allowed: PeerAllowed,
        clock: Clock,
    ) -> None:
        self.spec = spec
        self.clock = WorkerClock(files.clock, spec.wrong_s)
        self._time = clock
        self._files = files
        self._tree = tree
        self._metadata = metadata
        self._environment: dict[str, str] = {}
        guest = Guest(tree, files.home, self.environment)
        self._ssh = SSHServer(guest, lambda: metadata.attributes, peer_allowed)
        self._metadata_server = MetadataServer(metadata, peer_allowed, clock)

    @property
    def folder(self) -> Path:
        """Its part of the state folder."""
        return self._files.folder

    @property
    def guest_attributes(self) -> dict[str, dict[str, str]]:
        """Namespace -> key -> value: `hostkeys`, `hostname`, and what the guest itself wrote."""
        return self._metadata.guest_attributes

    def environment(self, user: str) -> dict[str, str]:
        """The environment of a command of `user`."""
        return {**self._environment, **settings.user_settings(user)}

    def update_metadata(self, metadata: dict[str, str]) -> None:
        """Replace the node's metadata; new `ssh-keys` count at once."""
        self._metadata.update(metadata)

    async def drop_connections(self) -> None:
        """Break every SSH connection off. Processes live on."""
        self._ssh.drop_connections()

    async def change_host_key(self) -> None:
        """Have another host key from now on, while the guest attributes still name the first one."""
        key = new_host_key()
        self._files.write_host_key(key)
        self._ssh.change_host_key(key)

    async def preempt(self) -> None:
        """Tell the guest through `instance/preempted`, then stop."""
        self._metadata.preempt()
        await self.stop()

    async def stop(self) -> None:
        """Stop listening, break connections off and kill every process. May be called again."""
        await self._ssh.close()
        await self._metadata_server.close()
        await self._tree.kill()
        self._time.detach(self.clock)

    async def start(self, ssh: socket.socket, http: socket.socket, environment: Mapping[str, str]) -> None:
        """Serve on these listening sockets and run the startup script. Called once, by WorkerHost.boot."""
        self._environment = dict(environment)
        script = self._metadata.attributes.get("startup-script")
        self._time.attach(self.clock, sleeps=bool(script))
        await self._metadata_server.start(http)
        await self._ssh.start(ssh, self._files.host_key.read_bytes())
        if script:
            await self._run_startup_script(script)

    async def _run_startup_script(self, script: str) -> None:
        """Start it; nobody waits for its end, as on Compute Engine."""
        _write(self._files.startup_script, script.encode(), 0o700)
        with (
            open(self._files.startup_log, "ab") as log,
            open(os.devnull, "rb") as nothing,
        ):
            # Through a shell, which also runs a script that has no `#!` line.
            await self._tree.spawn(
                [SHELL, "-c", '"$0"', str(self._files.startup_script)],
                env=self.environment("root"),
                cwd=self._files.home,
                fds=(nothing.fileno(), log.fileno(), log.fileno()),
            )


class WorkerHost:
    """All workers of one simulator. Used from its one event loop."""

    def __init__(
        self,
        *,
        state_dir: Path,
        ssh_port: int,
        metadata_port: int,
        environment: dict[str, str],
        peer_allowed: Callable[[tuple[str, int], tuple[str, int]], bool],
        clock: Clock,
    ) -> None:
        """`environment` is set for every command; `peer_allowed(client, ours)` decides who may connect.

        Kills what a simulator on the same folder that was killed may have left.
        """
        self._folder = state_dir.resolve() / "workers"
        self._ssh_port = ssh_port
        self._metadata_port = metadata_port
        self._environment = dict(environment)
        self._peer_allowed = peer_allowed
        self._clock = clock
        self._workers: dict[Path, Worker] = {}
        self._coordinator_ports: dict[str, int] = {}
        kill_marked(str(self._folder))

    async def boot(self, spec: WorkerSpec, *, first: bool) -> Worker:
        """Start the worker; with `first` on an empty disk, else with its home and host key as they were.

        Raises OSError when its address or a port is not to be had.
        """
        files = _Files(self._folder_of(spec))
        if (running := self._workers.get(files.folder)) is not None:
            await running.stop()
        if first:
            await _remove(files.folder)
        attributes = files.prepare(spec)
        async with contextlib.AsyncExitStack() as undo:
            ssh = undo.enter_context(self._listen(spec, self._ssh_port, "SSH"))
            http = undo.enter_context(self._listen(spec, self._metadata_port, "metadata"))
            tree = await ProcessTree.start(str(files.folder))
            undo.push_async_callback(tree.kill)
            metadata = Metadata(spec, spec.metadata, attributes, files.write_guest_attributes)
            worker = Worker(spec, files, tree, metadata, self._peer_allowed, self._clock)
            undo.push_async_callback(worker.stop)
            await worker.start(ssh, http, self._settings(spec, files))
            undo.pop_all()
        self._workers[files.folder] = worker
        return worker

    async def delete(self, spec: WorkerSpec) -> None:
        """Stop the worker, if it runs, and remove its disk."""
        folder = self._folder_of(spec)
        if (worker := self._workers.pop(folder, None)) is not None:
            await worker.stop()
        if not any(other.spec.node == spec.node for other in self._workers.values()):
            self._coordinator_ports.pop(spec.node, None)
        await _remove(folder)

    def _folder_of(self, spec: WorkerSpec) -> Path:
        return self._folder / spec.zone / f"{spec.node_id}-{spec.worker}"

    async def close(self) -> None:
        """Stop every worker; their disks stay."""
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        self._workers.clear()

    def _settings(self, spec: WorkerSpec, files: _Files) -> dict[str, str]:
        metadata_address = f"{spec.address}:{self._metadata_port}"
        return {
            **settings.host_settings(os.environ),
            **settings.machine_settings(files.home, files.tmp, files.bin, files.clock, metadata_address),
            **settings.accelerator_settings(spec, self._coordinator_port(spec.node)),
            **self._environment,
        }

    def _coordinator_port(self, node: str) -> int:
        """The port of the node's JAX coordinator. It binds all addresses, so each node needs its own."""
        if node not in self._coordinator_ports:
            ports = _COORDINATOR_PORTS
            first = zlib.crc32(f"{self._folder}:{node}".encode()) % len(ports)
            taken = set(self._coordinator_ports.values())
            candidates = (ports[(first + step) % len(ports)] for step in range(len(ports)))
            self._coordinator_ports[node] = next(port for port in candidates if port not in taken and _is_free(port))
        return self._coordinator_ports[node]

    def _listen(self, spec: WorkerSpec, port: int, what: str) -> socket.socket:
        # With the protocol named asyncio switches TCP_NODELAY on: see ports.listen.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((spec.address, port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise OSError(
                error.errno,
                f"worker {spec.worker} of {spec.node} cannot listen on {spec.address}:{port} ({what}): "
                f"{error.strerror}",
            ) from error
        return listening


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` in one step."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)


async def _remove(folder: Path) -> None:
    """Delete a worker's disk. Its name is free at once, whatever the size."""
    if folder.exists():
        grave = folder.with_name(f".deleted-{secrets.token_hex(8)}")
        folder.rename(grave)
        await asyncio.to_thread(_remove_tree, grave)


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:  # a folder that its owner made read-only, as some package caches are
        for parent, _, _ in os.walk(folder):
            os.chmod(parent, 0o700)
        shutil.rmtree(folder)
