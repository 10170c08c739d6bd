"""The process that calls the user's function. It runs in the job's environment, with the project on its path.

Whatever it needs is imported before the project's folders come onto sys.path: a project file that is named like a
standard module cannot get in its way. It imports little: every module delays the user's first line.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import json
import os
import pickle
import signal
import sys
from types import SimpleNamespace
from typing import Any, NoReturn

from launcher.agent import exceptions, values

_OOM_SCORE = "500"  # out of memory, the kernel takes this process before its supervisor
_PR_SET_PDEATHSIG = 1


def main(pipe: int) -> NoReturn:
    """Runs the task that comes through `pipe` and ends this process, whatever threads the function left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a supervisor that is gone cannot end it
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE)
    faulthandler.enable()
    exceptions.warm_up()
    with open(pipe, "rb") as task_file:
        data = task_file.read()
    if not data:  # nothing came of it
        os._exit(0)
    task = SimpleNamespace(**json.loads(data))
    if task.client_root:
        exceptions.find_sources(task.project, task.client_root)
    sys.argv[:] = [task.name]
    # The order of the client's own path, in front of the standard library as a script's folder is there.
    sys.path[:0] = [os.path.normpath(os.path.join(task.project, path)) for path in task.import_paths]
    pickled, error = _call(task, os.getpid())
    temporary = task.report + ".tmp"
    with open(temporary, "w") as report:
        json.dump({"pickled": pickled, "error": error}, report)
    os.replace(temporary, task.report)
    _exit(task.exit_bound_s)


def _call(task: SimpleNamespace, pid: int) -> tuple[bool, dict[str, Any] | None]:
    """Whether something was pickled, and an ErrorInfo: an execution.Ending."""
    try:
        with open(task.payload, "rb") as file:
            function, args, kwargs = pickle.load(file)
        os.unlink(task.payload)
        value = function(*args, **kwargs)
    except SystemExit as exc:
        _only_in(pid)
        if exc.code is not None and exc.code != 0:
            return False, _exited(exc.code)
        value = None
    except BaseException as exc:  # whatever the user's code raises is what the caller shall see
        _only_in(pid, exc)
        return _failed(exc, task)
    else:
        _only_in(pid)
    if not task.want_value:
        return False, None
    try:
        values.dump(value, task.result, task.max_result_bytes)
    except values.Unsendable as exc:
        return False, {"kind": "JobError", "message": exceptions.shortened(str(exc))}
    return True, None


def _only_in(pid: int, exc: BaseException | None = None) -> None:
    """A child that the user's code forked, and that came back here, has nothing to report."""
    if os.getpid() == pid:
        return
    if exc is not None:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    _flush()
    os._exit(0 if exc is None else 1)


def _exited(code: Any) -> dict[str, Any]:
    if isinstance(code, int):
        code = int(code)  # True is 1
        return {"kind": "JobError", "message": f"the function called sys.exit({code})", "exit_code": code}
    print(code, file=sys.stderr)  # as Python itself does
    words = exceptions.shortened(f"the function called sys.exit: {code}")
    return {"kind": "JobError", "message": words, "exit_code": 1}


def _failed(exc: BaseException, task: SimpleNamespace) -> tuple[bool, dict[str, Any]]:
    info = exceptions.describe(exc, project=task.project, client_root=task.client_root)
    if isinstance(exc, MemoryError):
        words = f"the worker ran out of memory: {info['type_name']}: {info['message']}".rstrip(": ")
        return False, {**info, "kind": "JobError", "message": words}
    return exceptions.dump(exc, task.result, task.max_result_bytes), info


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user's code may have closed or replaced it
            stream.flush()


def _exit(bound_s: float) -> NoReturn:
    """Runs what was registered to run at exit, for `bound_s` seconds at most, and ends the process."""
    # Its watchdog is a thread of C that needs no interpreter lock.
    with open(os.devnull, "wb") as nowhere:
        faulthandler.dump_traceback_later(bound_s, exit=True, file=nowhere)
        with contextlib.suppress(BaseException):  # the report is written: nothing here changes it
            atexit._run_exitfuncs()
        _flush()
        os._exit(0)
