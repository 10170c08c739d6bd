"""Start an attempt: read its spec from standard input and leave a supervisor behind that no connection can end."""

from __future__ import annotations

import os
import signal
import threading

from launcher.agent import home as homes
from launcher.agent import processes
from launcher.agent.failures import StopRequest
from launcher.agent.front import Output, relay
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.leave import leave
from launcher.agent.supervisor import Supervisor
from launcher.agent.timing import Clock, Timing
from launcher.records import codec, frames
from launcher.records.spec import Spec

_MAX_SPEC = 64 << 20  # bytes


def start(timing: Timing) -> int:
    """Starts the attempt on standard input, unless it was started before, and follows it from its log's beginning."""
    output = Output(1)
    try:
        spec = codec.decode(Spec, _read_spec())
        home = Home.default()
        folder = home.attempt(spec.job.job_id, spec.attempt)
    except ValueError as exc:
        output.send(frames.ERROR, f"the job's specification is damaged: {exc}".encode())
        return 0
    homes.folder(folder.path)
    alive = homes.lock(folder.alive_lock)
    if alive is not None:
        if not folder.started.exists():
            refusal = _launch(spec, home, folder, timing, alive)
            if refusal:
                output.send(frames.ERROR, refusal.encode())
                return 0
        os.close(alive)
    return relay(folder, 0, output)


def _read_spec() -> bytes:
    size = int.from_bytes(_read_exactly(8), "big")
    if size > _MAX_SPEC:
        raise ValueError(f"{size} bytes, the limit is {_MAX_SPEC}")
    return _read_exactly(size)


def _read_exactly(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            raise ValueError(f"standard input ended {size} bytes early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _launch(spec: Spec, home: Home, folder: AttemptFolder, timing: Timing, alive: int) -> str:
    """Forks the supervisor, which keeps the descriptor `alive`. The reason where this worker is busy, else ""."""
    busy = homes.lock(home.worker_lock)
    if busy is None:
        holder = home.worker_lock.read_text() or "another attempt"
        return f"this worker runs {holder}: one attempt at a time"
    os.ftruncate(busy, 0)
    os.pwrite(busy, f"job {spec.job.job_id} attempt {spec.attempt}".encode(), 0)
    os.mkfifo(folder.control, 0o600)
    folder.started.touch()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        code = 1
        try:
            _detach(folder, keep=(alive, busy))
            _supervise(spec, home, folder, timing, busy)
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    os.close(busy)
    return ""


def _detach(folder: AttemptFolder, keep: tuple[int, ...]) -> None:
    """Nothing of the connection stays open: neither its pipes nor its signals end the supervisor."""
    log = os.open(folder.agent_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    at = 3
    for fd in (*sorted(keep), os.sysconf("SC_OPEN_MAX")):
        os.closerange(at, fd)
        at = fd + 1
    os.chdir("/")


def _supervise(spec: Spec, home: Home, folder: AttemptFolder, timing: Timing, busy: int) -> None:
    stop, clock = StopRequest(), Clock()

    def shutting_down(*_: object) -> None:
        # A handler runs between any two instructions of the main thread, which may hold the very lock.
        words = "the worker's system is shutting down"
        threading.Thread(target=stop.request, args=("WorkerLost", words), daemon=True).start()

    signal.signal(signal.SIGTERM, shutting_down)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the job's processes would inherit
    processes.become_subreaper()
    threading.Thread(target=_listen, args=(folder, stop), name="control", daemon=True).start()
    supervisor = Supervisor(spec, home, folder, stop, timing, clock)
    supervisor.run()
    os.close(busy)
    if supervisor.leads:
        leave(
            spec,
            supervisor.keeper,
            supervisor.services,
            timing,
            clock,
            client_connected=supervisor.client_connected,
        )


def _listen(folder: AttemptFolder, stop: StopRequest) -> None:
    """Waits for a line in the attempt's named pipe."""
    fd = os.open(folder.control, os.O_RDWR)  # read and write: it never ends while nobody has it open
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        line = pipe.readline().decode(errors="replace").strip()
    stop.request("Cancelled", line or "the job was stopped")
