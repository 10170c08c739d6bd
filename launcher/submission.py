"""Submit one call: pack, upload, record; then run it here or hand it to a detached driver process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cloud import preload
from launcher.config import config_dir, load_profile, read_private, write_private
from launcher.errors import ApiDisabled, ConfigError, PermissionDenied
from launcher.fleet import rules
from launcher.fleet.agent_link import AgentFile
from launcher.fleet.platform import Platform, platform_of
from launcher.records import codec, signing
from launcher.records.jobs import Blob, Intent, Interpreter, JobRecord
from launcher.records.paths import JobPaths, new_job_id
from launcher.records.swap import create_once, same_token

if TYPE_CHECKING:
    from launcher.cloud.seams import Progress
    from launcher.config import Profile
    from launcher.settings import Settings
    from launcher.shipping import Packed


_TOLD: set[str] = set()  # of what is sent and what is not: once in a process, as calls come in loops


@dataclasses.dataclass(frozen=True)
class Submission:
    """A recorded job and what its driver needs besides the record. `secrets` and `key` never reach the bucket."""

    platform: Platform
    record: JobRecord
    key: str
    secrets: dict[str, str] = dataclasses.field(repr=False)
    index_args: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


def submit(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    settings: Settings,
    progress: Progress,
) -> Submission:
    """Packs the call, uploads what the bucket has not got, writes job.json. Nothing that costs money is asked for.

    ConfigError, PackagingError, CloudError.
    """
    preload("google.cloud.storage")
    from launcher import shipping

    platform = platform_of(load_profile(settings.profile, cloud_only=settings.cloud_only))
    with _explained(platform):
        settings = rules.settle(platform, settings)
        index = rules.python_index(platform)
    progress.notice(headline(platform.profile, settings, function))  # first: locking and packing may take a while
    started = time.monotonic()
    with (
        _explained(platform),
        shipping.pack(
            function,
            tuple(args),
            dict(kwargs),
            dependencies=settings.dependencies,
            capture_env_vars=settings.capture_env_vars,
            env=settings.env,
            project_root=settings.project_root,
            max_archive_bytes=settings.max_archive_bytes,
            python_index=index,
            on_step=progress.notice,
        ) as packed,
    ):
        for notice in packed.notices:
            if notice not in _TOLD:
                _TOLD.add(notice)
                progress.notice(notice)
        owner = platform.profile.owner
        shipping.upload(packed, platform.store, owner, endpoint=platform.profile.storage_endpoint)
        record = _record(platform.profile, settings, packed, function, time.monotonic() - started)
        if packed.interpreter is not None:
            version, local = packed.interpreter
            record = dataclasses.replace(record, python_index=index, interpreter=Interpreter(version, local.blob))
        secrets, index_args = dict(packed.secrets), dict(packed.index_args)
    key = signing.new_key()
    _write_key(record.job_id, key)
    data = codec.encode(record)
    with _explained(platform):
        stands = create_once(platform.store, JobPaths(owner, record.job_id).job, data)
    if not same_token(stands, data):
        raise ConfigError(f"job id {record.job_id} is taken: run it again")
    return Submission(platform, record, key, secrets, index_args)


@contextlib.contextmanager
def _explained(platform: Platform) -> Iterator[None]:
    """A refusal within it tells all that is missing."""
    try:
        yield
    except (PermissionDenied, ApiDisabled) as exc:
        from launcher.fleet import doctor  # what only a failure needs

        raise doctor.explain(platform, exc) from exc.__cause__


@functools.cache
def agent_file() -> AgentFile:
    from launcher.shipping import agent_archive

    data = agent_archive()
    return AgentFile(hashlib.sha256(data).hexdigest(), data)


def _record(
    profile: Profile, settings: Settings, packed: Packed, function: Callable[..., Any], pack_s: float
) -> JobRecord:
    from launcher.accelerators import hourly_usd

    accelerator = settings.accelerator
    zones = settings.zones or profile.zones
    keep_warm_s = profile.keep_warm_s if settings.keep_warm_s is None else settings.keep_warm_s
    agent = agent_file()
    return JobRecord(
        job_id=new_job_id(),
        owner=profile.owner,
        platform=profile.platform,
        name=_name(settings, function),
        created=time.time(),
        accelerator=accelerator.name,
        chips=accelerator.chips,
        hosts=accelerator.hosts,
        zones=tuple(zones),
        runtime_version=settings.runtime_version,
        python=packed.python,
        payload=packed.payload.blob,
        agent=Blob(agent.sha256, len(agent.data)),
        uv=packed.uv.blob,
        lock_cpu=packed.lock_cpu.blob,
        lock_tpu=packed.lock_tpu.blob,
        archive=packed.archive.blob if packed.archive else None,
        spot=settings.spot,
        spot_fallback=settings.spot_fallback,
        reservation=settings.reservation,
        pools=settings.pools,
        node=settings.node,
        keep_warm_s=keep_warm_s,
        cwd=packed.cwd,
        import_paths=packed.import_paths,
        client_root=packed.client_root,
        env=settings.env,
        secret_names=tuple(sorted(packed.secrets)),
        labels=settings.labels,
        timeout_s=settings.timeout_s,
        wait_timeout_s=settings.wait_timeout_s,
        max_lifetime_s=_lifetime_s(profile, settings),
        max_result_bytes=settings.max_result_bytes,
        usd_per_hour=hourly_usd(accelerator, zones[0], settings.spot),
        timings_s={"pack": pack_s},
        simulated=profile.simulated,
    )


def _lifetime_s(profile: Profile, settings: Settings) -> float:
    lifetime_s = settings.max_lifetime_s or profile.max_lifetime_s
    if settings.timeout_s is not None and settings.timeout_s > lifetime_s and not settings.node:
        raise ConfigError(
            f"timeout_s = {settings.timeout_s:g} is longer than max_lifetime_s = {lifetime_s:g} of profile "
            f"{profile.name!r}: the node would be gone before the job's time is up. Give max_lifetime_s=…"
        )
    return lifetime_s


def _name(settings: Settings, function: Callable[..., Any]) -> str:
    return settings.name or str(getattr(function, "__qualname__", type(function).__name__))


def headline(profile: Profile, settings: Settings, function: Callable[..., Any]) -> str:
    """What a call will run on: chips, hosts, spot or not, zone, list price per hour."""
    from launcher.accelerators import hourly_usd

    accelerator, zone = settings.accelerator, (settings.zones or profile.zones)[0]
    chips = f"{accelerator.chips} chip{'s' if accelerator.chips != 1 else ''}"
    hosts = f"{accelerator.hosts} host{'s' if accelerator.hosts != 1 else ''}"
    usd_per_hour = hourly_usd(accelerator, zone, settings.spot)
    price = "list price unknown" if usd_per_hour is None else f"${usd_per_hour:.2f}/h list price"
    if profile.simulated:
        price = "SIMULATED, no cost"
    market = "spot" if settings.spot else "on demand"
    return f"{_name(settings, function)} on {accelerator.name}: {chips}, {hosts}, {market}, {zone}, {price}"


def _key_name(job_id: str) -> str:
    return f"jobs/{job_id}.key"


def _write_key(job_id: str, key: str) -> None:
    write_private(config_dir() / _key_name(job_id), key.encode())


def read_key(job_id: str) -> str | None:
    """The job's key, where it was submitted from this machine."""
    data = read_private(config_dir() / _key_name(job_id))
    return None if data is None else data.decode()


def spawn_driver(submission: Submission) -> None:
    """Starts the detached process that carries the job to its end. Secrets go through a pipe, never argv."""
    run = {"secrets": submission.secrets, "index_args": submission.index_args}
    _detach(submission.platform, submission.record, submission.key, run)


def spawn_end(platform: Platform, record: JobRecord, key: str, intent: Intent | None = None) -> None:
    """Starts a detached process that ends the job, unless it has ended, and deletes its node. `intent`: what it is to
    delete even where the bucket cannot be read."""
    _detach(platform, record, key, None, intent)


def _detach(
    platform: Platform, record: JobRecord, key: str, run: Mapping[str, Any] | None, intent: Intent | None = None
) -> None:
    document = {
        "profile": dataclasses.asdict(platform.profile),
        "record": json.loads(codec.encode(record)),
        "key": key,
        "run": run,
        "intent": json.loads(codec.encode(intent)) if intent is not None else None,
    }
    folder = config_dir() / "drivers"
    folder.mkdir(mode=0o700, exist_ok=True)
    log = os.open(folder / f"{record.job_id}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # -P and "/": a file of the user's named like a standard module must not be imported.
    python_path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
    with contextlib.closing(os.fdopen(log, "wb")) as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher.driver"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=os.environ | {"PYTHONPATH": python_path},
        )
    # It outlives this process; here it is only reaped, should it end before.
    threading.Thread(target=process.wait, name="driver-reaper", daemon=True).start()
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(document).encode())
