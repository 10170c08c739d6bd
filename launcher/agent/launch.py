"""Start an attempt: leave a supervisor behind that no connection can end."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

from launcher.agent import rest
from launcher.agent.control import Attempt, StopRequest
from launcher.agent.home import AttemptFolder
from launcher.agent.link import FrontEnd
from launcher.agent.supervisor import Supervisor

_PR_SET_CHILD_SUBREAPER = 36


def launch(attempt: Attempt, busy: int, front: FrontEnd) -> None:
    """Forks the supervisor, which inherits the attempt's lock and `busy`, the worker's. No thread may run here."""
    spec, folder = attempt.spec, attempt.folder
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
            front.close()
            _detach(folder)
            _supervise(attempt, busy)
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)


def _detach(folder: AttemptFolder) -> None:
    """Nothing of the connection stays open: neither its pipes nor its signals end the supervisor."""
    log = os.open(folder.agent_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.chdir("/")
    rest.forget_connections()


def _supervise(attempt: Attempt, busy: int) -> None:
    stop = attempt.stop

    def shutting_down(*_: object) -> None:
        # A handler runs between any two instructions of the main thread, which may hold the very lock.
        words = "the worker's system is shutting down"
        threading.Thread(target=stop.request, args=("WorkerLost", words), daemon=True).start()

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, shutting_down)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the job's processes would inherit
    # Orphans among this process's descendants become its children, whatever they do.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_listen, args=(attempt.folder, stop), name="control", daemon=True).start()
    supervisor = Supervisor(attempt, free=lambda: os.close(busy))
    supervisor.run()
    supervisor.leave()


def _listen(folder: AttemptFolder, stop: StopRequest) -> None:
    """Waits for a line in the attempt's named pipe."""
    fd = os.open(folder.control, os.O_RDWR)  # read and write: it never ends while nobody has it open
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        line = pipe.readline().decode(errors="replace").strip()
    stop.request("Cancelled", line or "the job was stopped")
