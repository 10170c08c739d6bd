"""The first process of a simulated worker, as init is on a VM: parent of all its processes, and their end.

The simulator starts one per worker and asks it, over a socket, to run commands. Because this process is a
child subreaper (Linux), whatever a command leaves behind, be it double-forked, in a session of its own or
started with an empty environment, becomes its child and cannot get away. It kills all of them and exits as
soon as the socket closes, so also when the simulator is killed. Elsewhere it reaches process groups only.

It runs by file name with `python -I -S`, which starts in some 25 ms, and is standard library only. Other
modules of the simulator import its functions.

Wire: a request is 4 bytes of length, then JSON, on standard input (a Unix stream socket); the length of a
`spawn` carries three file descriptors. An event is one line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time

#: How long an end waits for processes that do not die (uninterruptible sleep, or another user's).
KILL_TIMEOUT_S = 5.0
#: The length in front of each request, in bytes.
HEADER_BYTES = 4
#: A command that cannot start ends as a shell reports it: 126 cannot be run, 127 does not exist.
CANNOT_RUN, NOT_FOUND = 126, 127

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: What Python or this process ignores, and an ignored signal stays ignored in a command.
_IGNORED_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


def become_subreaper() -> bool:
    """Adopt the orphans among this process's descendants; False where the system has no such thing."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> bool:
    """Have this process killed when the thread that forked it ends; False where that does not exist."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


def descendants(root: int) -> dict[int, str]:
    """State letter ("Z" for a zombie) by pid of the processes below `root`, parents first.

    Empty where there is no /proc.
    """
    states: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for pid in running_pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                stat = file.read()
        except OSError:  # it ended meanwhile
            continue
        # "pid (name) state ppid …": the name may hold spaces and parentheses.
        state, parent = stat[stat.rindex(b")") + 1 :].split(None, 2)[:2]
        states[pid] = state.decode()
        children.setdefault(int(parent), []).append(pid)
    found: dict[int, str] = {}
    generation = children.get(root, [])
    while generation:
        found |= {pid: states[pid] for pid in generation}
        generation = [child for pid in generation for child in children.get(pid, ())]
    return found


def running_pids() -> list[int]:
    """All processes of the machine. Empty where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except FileNotFoundError:
        return []


def kill_descendants(root: int) -> bool:
    """SIGKILL everything below `root` until nothing but zombies is left, which are reaped if `root` is us.

    Returns whether all ended within KILL_TIMEOUT_S.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while True:
        found = descendants(root)
        for pid in found:  # zombies too: one may be the first thread of a process that lives on
            kill(pid)
        if root == os.getpid():
            reap()
        if set(found.values()) <= {"Z"}:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)  # what was forked since the list was made is in the next list


def kill(pid: int) -> None:
    """SIGKILL `pid`, if it is still there and ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def reap() -> dict[int, int]:
    """Exit code (minus the signal's number if killed) by pid of every child that has ended."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


class Init:
    """Runs what the simulator asks for, until it goes away."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, int] = {}  # pid -> id of the request it came from

    def serve(self) -> None:
        """Answer requests and report ends until the socket closes; then kill everything."""
        wake, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            serving = True
            while serving:
                ready = {key.fd for key, _ in selector.select()}
                if wake in ready:
                    os.read(wake, 4096)
                    self._report_ended()
                if self._requests.fileno() in ready:
                    serving = self._handle_request()
        for pid in self._running:
            _signal_group(pid, signal.SIGKILL)  # where there is no subreaper, this is all that can be reached
        kill_descendants(os.getpid())

    def _handle_request(self) -> bool:
        """Do one request. False: the simulator is gone."""
        fds: list[int] = []
        try:
            header, fds, _, _ = socket.recv_fds(self._requests, HEADER_BYTES, 3)
            for fd in fds:
                os.set_inheritable(fd, False)
            size = int.from_bytes(header + self._read(HEADER_BYTES - len(header)), "big")
            request = json.loads(self._read(size))
            if request["do"] == "spawn":
                self._spawn(request, fds)
            elif request["pid"] in self._running:  # else it has ended, and the number may be another's by now
                _signal_group(request["pid"], request["signal"])
        except (EOFError, ConnectionError):
            return False
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._requests.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _spawn(self, request: dict[str, object], fds: list[int]) -> None:
        number = int(str(request["id"]))
        try:
            pid = os.fork()
        except OSError as error:  # the host's limit of processes
            _emit({"id": number, "error": f"cannot start a process: {error}"})
            return
        if pid == 0:
            _become(request, fds)
        self._running[pid] = number
        _emit({"id": number, "pid": pid})

    def _report_ended(self) -> None:
        for pid, code in reap().items():
            if (number := self._running.pop(pid, None)) is not None:
                _emit({"id": number, "code": code})


def _become(request: dict[str, object], fds: list[int]) -> None:
    """Turn this fresh child into the command. Does not return."""
    code = CANNOT_RUN
    try:
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        if request["tty"]:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in _IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        argv, environment = request["argv"], request["env"]
        assert isinstance(argv, list) and isinstance(environment, dict)
        os.chdir(str(request["cwd"]))
        os.execve(argv[0], argv, environment)
    except FileNotFoundError as error:
        code = NOT_FOUND
        os.write(2, f"{error}\n".encode())
    except (OSError, ValueError) as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _emit(event: dict[str, object]) -> None:
    # Nobody reads any more when the simulator is gone; the socket says so next.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(event).encode() + b"\n")


def main() -> None:
    """Serve the simulator at the other end of standard input."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    Init(socket.socket(fileno=0)).serve()


if __name__ == "__main__":
    main()
