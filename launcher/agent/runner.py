"""The process that calls the user's function. It runs in the job's environment, with the project on its path.

Whatever it needs is imported before the project's folders come onto sys.path: a project file that is named like a
standard module cannot get in its way.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import faulthandler
import os
import pickle
import sys
from pathlib import Path
from typing import Any, NoReturn

from launcher.agent import exceptions, processes, values
from launcher.agent.task import Ending, Task
from launcher.records import codec
from launcher.records.jobs import ErrorInfo

_OOM_SCORE = "500"  # out of memory, the kernel takes this process before its supervisor


def main(folder: str) -> NoReturn:
    """Runs the task in `folder`/task.json and ends this process, whatever threads the function left behind."""
    processes.die_with_parent()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    faulthandler.enable()
    exceptions.warm_up()
    task = codec.decode(Task, Path(folder, "task.json").read_bytes())
    sys.argv[:] = [task.name]
    # The order of the client's own path, in front of the standard library as a script's folder is there.
    sys.path[:0] = [os.path.normpath(os.path.join(task.project, path)) for path in task.import_paths]
    ending = _call(task, os.getpid())
    temporary = task.report + ".tmp"
    with open(temporary, "wb") as file:
        file.write(codec.encode(ending))
    os.replace(temporary, task.report)
    _exit(task.exit_bound_s)


def _call(task: Task, pid: int) -> Ending:
    try:
        with open(task.payload, "rb") as file:
            function, args, kwargs = pickle.load(file)
        os.unlink(task.payload)
        value = function(*args, **kwargs)
    except SystemExit as exc:
        _only_in(pid)
        if exc.code is None or exc.code == 0:
            value = None
        else:
            return _exited(exc.code)
    except BaseException as exc:  # whatever the user's code raises is what the caller shall see
        _only_in(pid, exc)
        return _failed(exc, task)
    else:
        _only_in(pid)
    if not task.want_value:
        return Ending(pickled=False)
    try:
        values.dump(value, task.result, task.max_result_bytes)
    except values.Unsendable as exc:
        return Ending(pickled=False, error=ErrorInfo("JobError", str(exc)))
    return Ending(pickled=True)


def _only_in(pid: int, exc: BaseException | None = None) -> None:
    """A child that the user's code forked, and that came back here, has nothing to report."""
    if os.getpid() == pid:
        return
    if exc is not None:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    _flush()
    os._exit(0 if exc is None else 1)


def _exited(code: Any) -> Ending:
    if not isinstance(code, int):
        print(code, file=sys.stderr)  # as Python itself does
        code = 1
    return Ending(False, ErrorInfo("JobError", f"the function called sys.exit({code})", exit_code=code))


def _failed(exc: BaseException, task: Task) -> Ending:
    info = exceptions.describe(exc, project=task.project, client_root=task.client_root)
    if isinstance(exc, MemoryError):
        message = f"the worker ran out of memory: {info.type_name}: {info.message}".rstrip(": ")
        return Ending(False, dataclasses.replace(info, kind="JobError", message=message))
    return Ending(exceptions.dump(exc, task.result, task.max_result_bytes), info)


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
