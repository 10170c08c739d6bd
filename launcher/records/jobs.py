"""The records of a job: what was asked, what was tried, how it ended."""

from __future__ import annotations

import dataclasses
import enum

from launcher.records.paths import new_token


class JobStatus(str, enum.Enum):
    """Where a job is. Read from records, never inferred from whether a cloud object exists."""

    QUEUED = "QUEUED"
    PROVISIONING = "PROVISIONING"
    SETTING_UP = "SETTING_UP"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)

    def __str__(self) -> str:
        return self.value


@dataclasses.dataclass(frozen=True)
class Blob:
    """A content-addressed object under the owner's prefix. size in bytes."""

    sha256: str
    size: int


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """A Python that is sent along, as uv installs it: a build for Linux x86-64, .tar.gz."""

    version: str  # "3.11.18"
    archive: Blob


@dataclasses.dataclass(frozen=True)
class JobRecord:
    """job.json: what was asked. Immutable, and no secret in it (of captured variables only the names)."""

    job_id: str
    owner: str
    platform: str
    name: str  # the function's qualified name, for people
    created: float  # epoch seconds, the submitter's clock: for display only
    accelerator: str
    chips: int
    hosts: int
    zones: tuple[str, ...]
    runtime_version: str
    python: str  # "3.11": the minor version that the payload was pickled with
    payload: Blob
    agent: Blob
    uv: Blob
    lock_cpu: Blob
    lock_tpu: Blob
    archive: Blob | None = None
    python_index: str = ""  # the platform's own, where its workers have no internet
    interpreter: Interpreter | None = None  # for the same workers
    spot: bool = False
    spot_fallback: bool = False  # on demand where no zone has spot capacity
    reservation: str = ""
    pools: tuple[str, ...] = ()  # of the platform, that its node is made in; a second one: where no spot is left
    node: str = ""  # an existing node, by name, instead of one of the fleet's
    keep_warm_s: float = 0.0  # how long its node may stay after it; 0 deletes the node at once
    cwd: str = "."  # the client's current folder, relative to the project's root
    import_paths: tuple[str, ...] = ()  # folders inside the root that were on the client's sys.path
    client_root: str = ""  # where the project is on the client: tracebacks show files there
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    secret_names: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    timeout_s: float | None = None
    wait_timeout_s: float | None = None
    max_lifetime_s: float = 24 * 3600.0
    max_result_bytes: int = 10 * 2**30
    usd_per_hour: float | None = None
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)  # phases before submission ("pack")
    simulated: bool = False
    token: str = dataclasses.field(default_factory=new_token)


@dataclasses.dataclass(frozen=True)
class Intent:
    """attempts/<n>/intent.json: written before any cloud call, so that anyone can replay or undo it.

    One for each node that the attempt tries to get; the last is the one that it runs on. `made`: the node is made
    for this attempt, under the id that belongs to it; else it was there before.
    """

    job_id: str
    attempt: int
    zone: str
    queued_resource: str
    node: str
    why: str  # "first choice"
    created: float
    number: int = 1  # counted from 1 within the attempt
    holder: str = ""  # of the lease, for this attempt
    made: bool = True
    spot: bool = False
    token: str = dataclasses.field(default_factory=new_token)


@dataclasses.dataclass(frozen=True)
class Cancel:
    """cancel.json: the wish to cancel."""

    job_id: str
    by: str
    created: float
    token: str = dataclasses.field(default_factory=new_token)


@dataclasses.dataclass(frozen=True)
class ErrorInfo:
    """How an attempt failed, as text.

    `kind` names a class of launcher.errors (`JobError`, `TimedOut`, `SetupError` …), or is `exception` for
    the user's own, whose `type_name` is then its qualified name.
    """

    kind: str
    message: str
    type_name: str = ""
    traceback: str = ""
    exit_code: int | None = None
    signal: str = ""
    base: str = ""  # of an exception: the nearest built-in type among its bases
    phase: str = ""
    worker: int = 0


@dataclasses.dataclass(frozen=True)
class Report:
    """What a supervisor says of its attempt's end, over SSH and in the outcome, signed with the job's key."""

    job_id: str
    attempt: int
    worker: int
    status: JobStatus
    sha256: str = ""  # of result.pkl, which holds the value, or the exception when `error` is set; "" is neither
    size: int = 0
    error: ErrorInfo | None = None
    ended: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """outcome.json: the one commit point of every ending. `report` is the signed text of a Report."""

    job_id: str
    status: JobStatus
    report: str
    signature: str = ""  # "" where the writer did not hold the job's key; such a report is text only
    writer: str = ""  # "worker" or "client"
    token: str = dataclasses.field(default_factory=new_token)


@dataclasses.dataclass(frozen=True)
class WorkerStatus:
    """workers/<slice>-<k>.json: written by that worker's supervisor only, each 30 s and at phase changes."""

    attempt: int
    worker: int
    phase: str  # starting, environment, project, running, result, done
    heartbeat: float
    pid: int = 0
    exit_code: int | None = None
    log_bytes: int = 0
    timings_s: dict[str, float] = dataclasses.field(default_factory=dict)  # finished phases, by name
