"""The processes of one simulated worker: started, signalled and ended through its init (worker_init)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.sim import worker_init

#: Variable in the environment of every process of a worker; its value is the worker's folder.
MARK = "LAUNCHER_SIM_WORKER"
#: Exit code of a process whose init vanished: it was killed with it.
KILLED = -int(signal.SIGKILL)


class Process:
    """One process that an init started. `pid` is also its session and process group."""

    def __init__(self, tree: ProcessTree, pid: int, exited: asyncio.Future[int]) -> None:
        self.pid = pid
        self._tree = tree
        self._exited = exited

    async def wait(self) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        return await asyncio.shield(self._exited)

    async def send_signal(self, number: int) -> None:
        """Signal its process group, as sshd does; nothing happens when it has ended."""
        with contextlib.suppress(OSError):
            await self._tree.request({"do": "signal", "pid": self.pid, "signal": number})


class ProcessTree:
    """The init of one worker, seen from the simulator. Made by `start`; used from one event loop."""

    def __init__(self, init: asyncio.subprocess.Process, requests: socket.socket, mark: str) -> None:
        self._init = init
        self._requests = requests
        self._mark = mark
        self._sending = asyncio.Lock()
        self._last_id = 0
        self._started: dict[int, asyncio.Future[int]] = {}
        self._exited: dict[int, asyncio.Future[int]] = {}
        self._reader = asyncio.create_task(self._read_events())

    @classmethod
    async def start(cls, mark: str) -> ProcessTree:
        """A new init. All its processes carry `mark` in the variable MARK."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                init = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-I", "-S", "-X", "utf8", worker_init.__file__),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.PIPE,
                    env={MARK: mark},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return cls(init, ours, mark)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        fds: tuple[int, int, int],
        tty: bool = False,
    ) -> Process:
        """Start `argv` (an absolute path first) in a session of its own.

        `fds` are its stdin, stdout and stderr, which the caller closes on its own side; with `tty` the first
        becomes its controlling terminal. Raises OSError when the init is gone or cannot start a process.
        """
        self._last_id += 1
        number = self._last_id
        loop = asyncio.get_running_loop()
        started, exited = loop.create_future(), loop.create_future()
        self._started[number], self._exited[number] = started, exited
        environment = {**env, MARK: self._mark}
        request = {"do": "spawn", "id": number, "argv": list(argv), "env": environment}
        try:
            await self.request({**request, "cwd": str(cwd), "tty": tty}, fds)
            return Process(self, await started, exited)
        finally:
            self._started.pop(number, None)

    async def request(self, request: dict[str, object], fds: Sequence[int] = ()) -> None:
        """Send one request to the init. Raises OSError when it is gone."""
        body = json.dumps(request).encode()
        header = len(body).to_bytes(worker_init.HEADER_BYTES, "big")
        async with self._sending:
            if self._reader.done():
                raise ConnectionError("the worker is stopped")
            while True:
                try:
                    socket.send_fds(self._requests, [header], list(fds))
                    break
                except BlockingIOError:
                    await self._writable()
            await asyncio.get_running_loop().sock_sendall(self._requests, body)

    async def kill(self) -> None:
        """End every process of the tree at once, the init last, and return when they are gone."""
        with contextlib.suppress(OSError):
            self._requests.shutdown(socket.SHUT_RDWR)  # the init takes the end of its socket as the order
        try:
            await asyncio.wait_for(self._init.wait(), worker_init.KILL_TIMEOUT_S)
        except TimeoutError:  # somebody stopped (SIGSTOP) the init: do its work from here
            await asyncio.to_thread(worker_init.kill_descendants, self._init.pid)
            with contextlib.suppress(ProcessLookupError):
                self._init.kill()
            await self._init.wait()
        await self._reader
        self._requests.close()
        # A process can outlive an init that one of the worker's own processes killed.
        await asyncio.to_thread(kill_marked, self._mark)

    async def _read_events(self) -> None:
        assert self._init.stdout is not None
        while line := await self._init.stdout.readline():
            event = json.loads(line)
            if "pid" in event:
                _resolve(self._started.get(event["id"]), event["pid"])
            elif "code" in event:
                _resolve(self._exited.pop(event["id"], None), event["code"])
            elif (started := self._started.get(event["id"])) is not None and not started.done():
                self._exited.pop(event["id"], None)
                started.set_exception(OSError(event["error"]))
        for started in self._started.values():
            if not started.done():
                started.set_exception(ConnectionError("the worker is stopped"))
        for exited in self._exited.values():
            _resolve(exited, KILLED)
        self._exited.clear()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._requests, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._requests)


def _resolve(future: asyncio.Future[int] | None, value: int) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def marked(folder: str) -> list[int]:
    """Processes that carry the mark of a worker whose folder is `folder` or below it (Linux only)."""
    found = []
    for pid in worker_init.running_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it ended meanwhile, or is another user's
            continue
        for entry in environment.split(b"\0"):
            name, _, value = os.fsdecode(entry).partition("=")
            if name == MARK and (value == folder or value.startswith(folder + "/")):
                found.append(pid)
                break
    return found


def kill_marked(folder: str) -> None:
    """SIGKILL what `marked` finds until nothing is found, for KILL_TIMEOUT_S at most."""
    deadline = time.monotonic() + worker_init.KILL_TIMEOUT_S
    while (pids := marked(folder)) and time.monotonic() < deadline:
        for pid in pids:
            worker_init.kill(pid)
        time.sleep(0.001)
