"""One platform in use: its profile and the seams to it, opened when first needed."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from launcher.cloud.retry import Deadline
from launcher.cloud.seams import Clock, SystemClock
from launcher.errors import Cancelled, ConfigError, NotFound
from launcher.records import platform as platform_records
from launcher.records.paths import PLATFORM
from launcher.records.platform import PlatformFile

if TYPE_CHECKING:
    from launcher.cloud.seams import ClusterService, Connector, NodeService, ObjectStore, ProjectService
    from launcher.config import Profile

_FILE_FOR_S = 300.0  # how long platform.json is remembered: it changes when somebody applies Terraform


class Platform:
    """Profile, clock and seams. Thread-safe."""

    def __init__(self, profile: Profile, clock: Clock | None = None) -> None:
        self.profile = profile
        self.clock = clock or SystemClock()
        self._file: tuple[float, PlatformFile | None] | None = None  # until when it holds, by the clock
        self._file_lock = threading.Lock()

    @property
    def file(self) -> PlatformFile | None:
        """As read_file, remembered for some minutes."""
        with self._file_lock:
            if self._file is None or self.clock.monotonic() >= self._file[0]:
                found = self.read_file()
                self._file = self.clock.monotonic() + _FILE_FOR_S, found
            return self._file[1]

    def read_file(self) -> PlatformFile | None:
        """platform.json, as its control bucket has it now; None where there is none, so that there are no rules.

        ConfigError where it is damaged or another platform's, CloudError where it cannot be read: nobody can tell then.
        """
        profile = self.profile
        if not profile.control_bucket:  # never from the jobs' bucket, which every job can write
            return None
        try:
            stored = self.control_store.read(PLATFORM)
        except NotFound:
            return None
        if stored is None:
            return None
        place = f"gs://{profile.control_bucket}/{PLATFORM}"
        found = parse_file(stored.data, place)
        if (found.platform, found.bucket) != (profile.platform, profile.bucket):
            raise ConfigError(
                f"{place} is of platform {found.platform} with bucket {found.bucket}; profile {profile.name} says "
                f"{profile.platform} and {profile.bucket}. Join anew: launcher init --bucket {profile.control_bucket}"
            )
        return found

    @functools.cached_property
    def store(self) -> ObjectStore:
        return self._bucket(self.profile.bucket)

    @functools.cached_property
    def control_store(self) -> ObjectStore:
        """Where records are that a job must not be able to write; the jobs' bucket where there is no other."""
        return self._bucket(self.profile.control_bucket) if self.profile.control_bucket else self.store

    @functools.cached_property
    def nodes(self) -> NodeService:
        from launcher.cloud.tpu import CloudTpu

        return CloudTpu(
            self.profile.project,
            endpoint=self.profile.tpu_endpoint,
            credentials=self.profile.credentials,
            clock=self.clock,
        )

    @functools.cached_property
    def project(self) -> ProjectService:
        from launcher.cloud.project import CloudProject

        return CloudProject(self.profile, clock=self.clock)

    @functools.cached_property
    def clusters(self) -> ClusterService:
        from launcher.cloud.gke import Gke

        return Gke(self.profile, clock=self.clock)

    @functools.cached_property
    def connector(self) -> Connector:
        from launcher.cloud.ssh import SshConnector

        return SshConnector()

    def _bucket(self, name: str) -> ObjectStore:
        from launcher.cloud.storage import GcsBucket

        return GcsBucket(
            name,
            project=self.profile.project,
            endpoint=self.profile.storage_endpoint,
            credentials=self.profile.credentials,
            clock=self.clock,
        )


def parse_file(data: bytes, place: str) -> PlatformFile:
    """The platform.json that `place` names. ConfigError with every problem."""
    try:
        return platform_records.parse(data)
    except ValueError as exc:
        problems = "; ".join(str(exc).splitlines())
        raise ConfigError(
            f"{place} is damaged: {problems}. An operator of the platform writes it anew with: terraform apply"
        ) from exc


@functools.cache
def platform_of(profile: Profile) -> Platform:
    """One Platform per profile as it is now: connections and credentials are kept for the next call."""
    return Platform(profile)


class Poll:
    """Growing pauses between two looks at the same thing, from 0.05 s to `longest_s`."""

    def __init__(
        self,
        clock: Clock,
        *,
        timeout_s: float | None = None,
        longest_s: float = 5.0,
        cancel: threading.Event | None = None,
    ) -> None:
        self._clock = clock
        self._deadline = Deadline(clock, timeout_s)
        self._longest_s = longest_s
        self._cancel = cancel
        self._pause_s = 0.05

    @property
    def expired(self) -> bool:
        return self._deadline.expired

    def pause(self) -> None:
        """Never beyond the deadline. Raises Cancelled as soon as `cancel` is set."""
        if self._clock.wait(min(self._pause_s, self._deadline.remaining()), self._cancel):
            raise Cancelled("the job was cancelled")
        self._pause_s = min(2 * self._pause_s, self._longest_s)
