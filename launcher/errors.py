"""Every error this library raises on purpose. Standard library only, importable on a worker.

LauncherError
├── ConfigError            settings, profile, accelerator name; lists every problem (also a ValueError)
├── PackagingError         an argument or a file cannot be sent; names it
├── CloudError             Google's answer was an error
│   ├── PermissionDenied   403: which call, which resource
│   ├── ApiDisabled        403 with SERVICE_DISABLED: which API to enable
│   ├── NotFound           404 on something that had to be there
│   ├── InvalidRequest     400: the request itself is wrong
│   ├── QuotaExceeded      429/8 naming a quota
│   ├── OutOfCapacity      8 without a quota: no hardware in the zone now
│   ├── Conflict           409/412: somebody else wrote first
│   └── Unavailable        5xx, timeouts, dropped connections, after retries
├── FleetFrozen            the budget guard stopped everything new
├── ConnectError           a worker cannot be reached or is not the one it should be
├── SetupError             the worker's Python environment could not be built
└── JobError               the job ended without a value
    ├── RemoteError        the user's exception where its own type cannot be rebuilt here
    ├── Preempted          Google took the node
    ├── TimedOut           the job's own timeout_s (also a TimeoutError)
    ├── Cancelled          somebody cancelled it
    ├── WorkerLost         the worker vanished or stopped answering
    ├── ResultUnavailable  the job ended, its result cannot be read here
    └── ResultUntrusted    the result's signature is missing or wrong
"""

from __future__ import annotations

from collections.abc import Sequence


class LauncherError(Exception):
    """Base of every error of this library. `str(error)` is meant for a person: culprit, place, fix."""


class ConfigError(LauncherError, ValueError):
    """A setting is wrong. `problems` holds every problem that was found, one sentence each."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PackagingError(LauncherError):
    """Something of the call cannot be sent: the message names the argument or the file."""


class CloudError(LauncherError):
    """Google's answer to one of our requests was an error that no retry mended."""


class PermissionDenied(CloudError):
    """The caller's identity may not do this (HTTP 403). `credentials`: they were not accepted anywhere (401)."""

    credentials = False


class ApiDisabled(CloudError):
    """The API is not enabled in the project (403 with reason SERVICE_DISABLED)."""


class NotFound(CloudError):
    """Something that must exist does not (HTTP 404), for example the bucket."""


class InvalidRequest(CloudError):
    """Google rejected the request itself (HTTP 400)."""


class QuotaExceeded(CloudError):
    """A quota of the project is used up: more hardware may exist, but not for this project."""


class OutOfCapacity(CloudError):
    """The zone has no such hardware free now."""


class Conflict(CloudError):
    """Somebody else wrote or created the same thing first (HTTP 409 or 412)."""


class Unavailable(CloudError):
    """The service could not be reached or kept failing (5xx, 429 without a quota, dropped connections)."""


class FleetFrozen(LauncherError):
    """The platform's budget is used up: nothing new is started until an operator says `launcher unfreeze`."""


class ConnectError(LauncherError):
    """A worker cannot be reached over SSH, or is not the machine it should be.

    `transient`: trying again later may help (not up yet, dropped); False is final (another host key).
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class SetupError(LauncherError):
    """Setting up the worker's Python failed; the message ends with the installer's last lines."""


class JobError(LauncherError):
    """The job ended without a value."""


class RemoteError(JobError):
    """The user's exception, where its own type cannot be rebuilt on this machine.

    `type_name` is the remote type's qualified name; `traceback_text` the remote traceback.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text


class Preempted(JobError):
    """Google took the node back (spot capacity) before the job was done."""


class TimedOut(JobError, TimeoutError):
    """The job ran longer than its own `timeout_s` and was stopped on the worker."""


class Cancelled(JobError):
    """The job was cancelled."""


class WorkerLost(JobError):
    """The worker vanished or stopped answering while the job ran."""


class ResultUnavailable(JobError):
    """The job ended, but its result cannot be read here; the message says what is missing."""


class ResultUntrusted(JobError):
    """The result in the bucket is not provably what the job's own worker wrote."""


class RemoteTraceback(Exception):
    """The `__cause__` of an exception that came from a worker: its remote traceback as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text.rstrip()}"
