"""One Protocol per external system. What is above knows these and nothing of google.* or paramiko."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from launcher.records.clusters import ClusterFacts, PodFacts
from launcher.records.swap import RecordStore


class Clock(Protocol):
    """Time for deadlines and back-off, so that tests need not wait for real."""

    def monotonic(self) -> float: ...

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Sleeps, or less long when `event` is set meanwhile; returns whether it is set."""


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        if event is not None:
            return event.wait(seconds)
        time.sleep(seconds)
        return False


@dataclasses.dataclass(frozen=True)
class ObjectInfo:
    """Metadata of an object. size in bytes, crc32c as GCS gives it (base64), updated in epoch seconds."""

    name: str
    size: int
    crc32c: str
    generation: int
    updated: float


class ObjectStore(RecordStore, Protocol):
    """One bucket: read, create and replace of small records (from RecordStore), and bulk data."""

    bucket: str

    def stat(self, name: str) -> ObjectInfo | None:
        """Metadata, or None where there is no such object (404 of the object, never of the bucket)."""

    def upload(self, name: str, source: BinaryIO, size: int, crc32c: str) -> bool:
        """Streams `size` bytes with ifGenerationMatch=0. False when the object exists already (412)."""

    def download(self, name: str, target: BinaryIO, start: int = 0) -> int | None:
        """Streams the object from byte `start` into `target`; how many bytes, None on 404. Checks crc32c."""

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "") -> Iterator[ObjectInfo]:
        """Objects by name. With a delimiter, common prefixes come as ObjectInfo with generation 0."""

    def time(self) -> float:
        """The store's clock now, in epoch seconds."""


@dataclasses.dataclass(frozen=True)
class NodeSpec:
    """What a queued resource asks for. `valid_for_s`: how long it may wait before it expires by itself.

    `reservation`: an id in the same project and zone, or a full name (`projects/…/reservations/…`).
    """

    queued_resource: str
    node: str
    accelerator: str
    runtime_version: str
    labels: dict[str, str]
    metadata: dict[str, str]
    spot: bool = False
    external_ip: bool = True
    network: str = ""
    subnetwork: str = ""
    service_account: str = ""
    valid_for_s: float | None = None
    reservation: str = ""


@dataclasses.dataclass(frozen=True)
class QueuedResource:
    """state: the API's own name (`WAITING_FOR_RESOURCES`). reason: its failure in words, or "";
    error_code: google.rpc.Code of that failure. create_time in epoch seconds. reservation: a full name."""

    name: str
    state: str
    reason: str = ""
    error_code: int = 0
    nodes: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    create_time: float = 0.0
    spot: bool = False
    reservation: str = ""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Addresses of one worker. external is "" without an external address."""

    internal: str
    external: str = ""


@dataclasses.dataclass(frozen=True)
class Node:
    """create_time in epoch seconds. queued_resource: the id of the one that made it, "" where it stands alone."""

    name: str
    state: str
    endpoints: tuple[Endpoint, ...] = ()
    accelerator: str = ""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    create_time: float = 0.0
    runtime_version: str = ""
    queued_resource: str = ""
    spot: bool = False


@dataclasses.dataclass(frozen=True)
class GuestAttributes:
    """What one worker says of itself: host keys by type (`ssh-ed25519` -> base64) and its instance name."""

    host_keys: dict[str, str]
    hostname: str = ""


class NodeService(Protocol):
    """The Cloud TPU API. Names are short ids; `zone` is always given. Failure raises, absence is None."""

    def create_queued_resource(self, zone: str, spec: NodeSpec) -> None:
        """Asks for it and returns as soon as the request was accepted. Conflict where the id exists."""

    def get_queued_resource(self, zone: str, queued_resource: str) -> QueuedResource | None: ...

    def list_queued_resources(self, zone: str) -> Iterator[QueuedResource]: ...

    def delete_queued_resource(self, zone: str, queued_resource: str) -> None:
        """Asks for deletion with force=true, its nodes included. Gone or under way already is success."""

    def get_node(self, zone: str, node: str) -> Node | None: ...

    def list_nodes(self, zone: str) -> Iterator[Node]: ...

    def delete_node(self, zone: str, node: str) -> None:
        """Asks for the deletion of a node that has no queued resource. Gone or under way already is success."""

    def list_accelerators(self, zone: str) -> Iterator[str]:
        """The accelerator types that the zone offers."""

    def set_metadata(self, zone: str, node: str, metadata: dict[str, str]) -> None:
        """Replaces all of a node's metadata; in effect on return. NotFound where there is no such node."""

    def guest_attributes(self, zone: str, node: str) -> tuple[GuestAttributes, ...]:
        """Of every worker, in order; a worker that published none has no host keys."""


@dataclasses.dataclass(frozen=True)
class TpuQuota:
    """One quota as it holds in a zone: `tpu-v5s-litepod-preemptible`. limit: -1 is none; the unit is the accelerator
    name's own (chips or TensorCores)."""

    name: str
    limit: int


class ProjectService(Protocol):
    """What the project says of itself: who may do what, which APIs are on, and how much of what."""

    def account(self) -> str:
        """Whose credentials are used, as an e-mail address, "" where nobody can tell. ConfigError without any."""

    def missing_permissions(self, permissions: Sequence[str]) -> tuple[str, ...]:
        """Which of these the caller does not hold on the project."""

    def missing_bucket_permissions(self, bucket: str, permissions: Sequence[str]) -> tuple[str, ...]:
        """The same on a bucket. NotFound where there is none of the name."""

    def missing_account_permissions(self, email: str, permissions: Sequence[str]) -> tuple[str, ...]:
        """The same on a service account. NotFound where there is none of the name."""

    def disabled_services(self, services: Sequence[str]) -> tuple[str, ...]:
        """Which of these APIs (`tpu.googleapis.com`) are not enabled."""

    def tpu_quotas(self, zone: str) -> tuple[TpuQuota, ...]:
        """Every TPU quota as it holds in the zone."""


class ClusterService(Protocol):
    """GKE, and the Kubernetes API of one of its clusters. Failure raises, absence is None."""

    def get(self, location: str, cluster: str) -> ClusterFacts | None:
        """The cluster with its node pools and their sizes."""

    def pods(self, cluster: ClusterFacts) -> tuple[PodFacts, ...]:
        """Every Pod of every namespace."""

    def empty_pool(self, location: str, cluster: str, pool: str) -> None:
        """Asks for size 0; the autoscaler may make it larger again. NotFound where there is no such pool."""

    def delete(self, location: str, cluster: str) -> None:
        """Asks for the cluster's deletion. Gone already is success."""


class Channel(Protocol):
    """One running command on one worker. Not thread-safe for two readers or two writers."""

    def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def read(self, limit: int = 65536, timeout_s: float | None = None) -> bytes:
        """Standard output; b"" at its end. TimeoutError after `timeout_s`; ConnectError when the connection
        is lost."""

    def stderr(self) -> bytes:
        """What the command wrote to standard error so far (at most the last 64 KiB)."""

    def exit_status(self, timeout_s: float | None = None) -> int:
        """Exit status, -1 where a signal ended it."""

    def close(self) -> None: ...


class Transport(Protocol):
    """An open connection to one worker; `exec` opens any number of channels on it."""

    def exec(self, command: str) -> Channel: ...

    def alive(self) -> bool: ...

    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class Target:
    """Where and how to reach one worker. `host_keys`: the only keys it may show, by type.

    `proxy_command` (with %h host, %p port, %n instance name) is run instead of a direct connection.
    """

    host: str
    port: int
    user: str
    key_file: str
    host_keys: dict[str, str]
    proxy_command: str = ""
    instance: str = ""  # GuestAttributes.hostname, where the proxy command has %n
    label: str = "worker 0"  # how messages call it
    timeout_s: float = 20.0


class Connector(Protocol):
    """Opens transports. ConnectError names the worker, the step that failed and what to check."""

    def connect(self, target: Target) -> Transport: ...


class Progress(Protocol):
    """What a long step tells the person who waits."""

    def phase(self, name: str, detail: str = "") -> None: ...

    def log(self, data: bytes, worker: int = 0) -> None: ...

    def notice(self, line: str) -> None: ...
