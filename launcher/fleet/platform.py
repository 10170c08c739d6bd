"""One platform in use: its profile and the three seams to it, opened when first needed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from launcher.cloud.seams import Clock, SystemClock

if TYPE_CHECKING:
    from launcher.cloud.seams import Connector, NodeService, ObjectStore
    from launcher.config import Profile


class Platform:
    """Profile, clock and seams. Thread-safe; one per process and profile is enough."""

    def __init__(self, profile: Profile, clock: Clock | None = None) -> None:
        self.profile = profile
        self.clock = clock or SystemClock()

    @functools.cached_property
    def store(self) -> ObjectStore:
        from launcher.cloud.storage import GcsBucket

        return GcsBucket(
            self.profile.bucket,
            project=self.profile.project,
            endpoint=self.profile.storage_endpoint,
            credentials=self.profile.credentials,
            clock=self.clock,
        )

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
    def connector(self) -> Connector:
        from launcher.cloud.ssh import SshConnector

        return SshConnector()
