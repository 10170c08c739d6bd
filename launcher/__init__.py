"""Run any Python function on a Cloud TPU with one decorator.

Names load when they are first used: `import launcher` costs a few milliseconds, and works on a worker with nothing
but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import ApiDisabled as ApiDisabled
from launcher.errors import Cancelled as Cancelled
from launcher.errors import CloudError as CloudError
from launcher.errors import ConfigError as ConfigError
from launcher.errors import Conflict as Conflict
from launcher.errors import ConnectError as ConnectError
from launcher.errors import FleetFrozen as FleetFrozen
from launcher.errors import InvalidRequest as InvalidRequest
from launcher.errors import JobError as JobError
from launcher.errors import LauncherError as LauncherError
from launcher.errors import NotFound as NotFound
from launcher.errors import OutOfCapacity as OutOfCapacity
from launcher.errors import PackagingError as PackagingError
from launcher.errors import PermissionDenied as PermissionDenied
from launcher.errors import Preempted as Preempted
from launcher.errors import QuotaExceeded as QuotaExceeded
from launcher.errors import RemoteError as RemoteError
from launcher.errors import RemoteTraceback as RemoteTraceback
from launcher.errors import ResultUnavailable as ResultUnavailable
from launcher.errors import ResultUntrusted as ResultUntrusted
from launcher.errors import SetupError as SetupError
from launcher.errors import TimedOut as TimedOut
from launcher.errors import Unavailable as Unavailable
from launcher.errors import WorkerLost as WorkerLost

if TYPE_CHECKING:
    from launcher.decorator import RemoteFunction as RemoteFunction
    from launcher.decorator import run as run
    from launcher.job import Job as Job
    from launcher.job import attach as attach
    from launcher.job import jobs as jobs
    from launcher.records.jobs import JobStatus as JobStatus
    from launcher.worker_context import WorkerContext as WorkerContext
    from launcher.worker_context import context as context

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(["RemoteFunction", "run"], "launcher.decorator"),
    **dict.fromkeys(["Job", "attach", "jobs"], "launcher.job"),
    "JobStatus": "launcher.records.jobs",
    **dict.fromkeys(["WorkerContext", "context"], "launcher.worker_context"),
}
_ERRORS = [name for name, value in globals().items() if isinstance(value, type)]
__all__ = sorted([*_ERRORS, *_HOMES])


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'launcher' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
