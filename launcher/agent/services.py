"""What an attempt talks to, each with the patience that fits its use."""

from __future__ import annotations

import dataclasses
import math

from launcher.agent.bucket import Bucket
from launcher.agent.failures import StopRequest
from launcher.agent.rest import Metadata, Rest
from launcher.agent.timing import Clock, Timing
from launcher.records.spec import Spec

_SETUP_PATIENCE_S = 900.0  # a bucket that is down for longer fails the attempt
_PARTING_PATIENCE_S = 60.0
_LEASE_TIMEOUT_S = 15.0  # well below the margin before a lease ends


@dataclasses.dataclass(frozen=True)
class Services:
    """setup: interrupted by a stop request. lasting: an outage only delays it. parting: gives up after a minute.
    brief: gives up after one try."""

    metadata: Metadata
    setup: Bucket
    lasting: Bucket
    parting: Bucket
    brief: Bucket
    rest: Rest

    @staticmethod
    def of(spec: Spec, stop: StopRequest, timing: Timing, clock: Clock) -> Services:
        metadata = Metadata(clock, timing)
        setup = Rest(metadata, clock, patience_s=_SETUP_PATIENCE_S, stop=stop)
        lasting = Rest(metadata, clock, patience_s=math.inf)
        parting = Rest(metadata, clock, patience_s=_PARTING_PATIENCE_S)
        brief = Rest(metadata, clock, patience_s=0.0, timeout_s=_LEASE_TIMEOUT_S)
        where = (spec.storage_endpoint, spec.bucket)
        return Services(
            metadata,
            Bucket(setup, *where),
            Bucket(lasting, *where),
            Bucket(parting, *where),
            Bucket(brief, *where),
            lasting,
        )
