"""Start an attempt: read its spec from standard input and leave a supervisor behind that no connection can end."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

from launcher.agent import home as homes
from launcher.agent.control import Attempt, StopRequest, Timing
from launcher.agent.front import Output, relay
from launcher.agent.home import AttemptFolder, Home
from launcher.agent.supervisor import Supervisor
from launcher.records import codec, frames
from launcher.records.spec import Spec

_MAX_SPEC = 64 << 20  # bytes
_PR_SET_CHILD_SUBREAPER = 36


def start(timing: Timing | None) -> int:
    """Starts the attempt on standard input, unless it was started before, and follows it from its log's beginning."""
    output = Output(1)
    try:
        spec = _read_spec()
        home = Home()
        folder = home.attempt(spec.job.job_id, spec.attempt)
    except ValueError as exc:
        output.send(frames.ERROR, f"the job's specification is damaged: {exc}".encode())
        return 0
    homes.folder(folder.path)
    alive = homes.lock(folder.alive_lock)
    if alive is not None:
        if not folder.started.exists():
            refusal = _launch(Attempt(spec, home, folder, timing or Timing(), StopRequest()))
            if refusal:
                output.send(frames.ERROR, refusal.encode())
                return 0
        os.close(alive)
    return relay(folder, 0, output)


def _read_spec() -> Spec:
    with open(0, "rb", closefd=False) as stdin:
        size = int.from_bytes(stdin.read(8), "big")
        if size > _MAX_SPEC:
            raise ValueError(f"{size} bytes, the limit is {_MAX_SPEC}")
        data = stdin.read(size)
    if not data or len(data) < size:
        raise ValueError(f"standard input ended after {len(data)} of {size} bytes")
    return codec.decode(Spec, data)


def _launch(attempt: Attempt) -> str:
    """Forks the supervisor, which inherits the locks. The reason where this worker is busy, else ""."""
    spec, home, folder = attempt.spec, attempt.home, attempt.folder
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
            _detach(folder)
            _supervise(attempt, busy)
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    os.close(busy)
    return ""


def _detach(folder: AttemptFolder) -> None:
    """Nothing of the connection stays open: neither its pipes nor its signals end the supervisor."""
    log = os.open(folder.agent_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.chdir("/")


def _supervise(attempt: Attempt, busy: int) -> None:
    stop = attempt.stop

    def shutting_down(*_: object) -> None:
        # A handler runs between any two instructions of the main thread, which may hold the very lock.
        words = "the worker's system is shutting down"
        threading.Thread(target=stop.request, args=("WorkerLost", words), daemon=True).start()

    signal.signal(signal.SIGTERM, shutting_down)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the job's processes would inherit
    # Orphans among this process's descendants become its children, whatever they do.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_listen, args=(attempt.folder, stop), name="control", daemon=True).start()
    supervisor = Supervisor(attempt)
    supervisor.run()
    os.close(busy)
    supervisor.leave()


def _listen(folder: AttemptFolder, stop: StopRequest) -> None:
    """Waits for a line in the attempt's named pipe."""
    fd = os.open(folder.control, os.O_RDWR)  # read and write: it never ends while nobody has it open
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        line = pipe.readline().decode(errors="replace").strip()
    stop.request("Cancelled", line or "the job was stopped")
