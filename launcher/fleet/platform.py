"""One platform in use: its profile and the three seams to it, opened when first needed."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from launcher.cloud.retry import Deadline
from launcher.cloud.seams import Clock, SystemClock
from launcher.errors import Cancelled

if TYPE_CHECKING:
    from launcher.cloud.seams import Connector, NodeService, ObjectStore, ProjectService
    from launcher.config import Profile


class Platform:
    """Profile, clock and seams. Thread-safe."""

    def __init__(self, profile: Profile, clock: Clock | None = None) -> None:
        self.profile = profile
        self.clock = clock or SystemClock()

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
