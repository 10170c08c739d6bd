"""What the parts of an attempt share: its waiting times, its ways to end early, and the request that ends it."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from launcher.agent.home import AttemptFolder, Home
from launcher.agent.link import SupervisorEnd
from launcher.records.leases import RENEW_S, STOP_MARGIN_S
from launcher.records.spec import Spec

if TYPE_CHECKING:
    from launcher.agent.holding import Holding


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds, all of them."""

    grace_s: float = 10.0  # between SIGTERM and SIGKILL of a job that is stopped
    stray_grace_s: float = 1.0  # the same for what a job that ended by itself left behind
    exit_bound_s: float = 10.0  # for what the user's code registered to run at exit; threads get no time at all
    cancel_poll_s: float = 10.0
    status_s: float = 30.0
    spacing_s: float = 1.0  # GCS takes about one write a second to one name
    renew_s: float = RENEW_S
    stop_margin_s: float = STOP_MARGIN_S
    client_grace_s: float = 60.0  # how long a connected client has to delete the node itself
    session_hold_s: float = 10.0  # how long a session keeps the lease after an attempt
    hand_over_s: float = 10.0  # for a front that does not take the lease back, as its client does not read
    metadata_patience_s: float = 15.0


class AttemptFailed(Exception):
    """The attempt cannot go on; its report says why. `kind`: a class of launcher.errors."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class AgentError(Exception):
    """The agent itself cannot go on, or cannot report: only the one who follows it over SSH learns why."""


class Stopped(Exception):
    """A stop request interrupted what was going on."""


class StopRequest:
    """The wish to end an attempt: the first one counts. Thread-safe."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.kind = ""  # a class of launcher.errors: Cancelled, TimedOut, WorkerLost
        self.message = ""
        self._lock = threading.Lock()
        self._listeners = [self.event]

    def request(self, kind: str, message: str) -> None:
        with self._lock:
            if not self.kind:
                self.kind, self.message = kind, message
                for listener in self._listeners:
                    listener.set()

    def wake(self, listener: threading.Event) -> None:
        """`listener` is set by the request too, so that one event can wait for several things."""
        with self._lock:
            self._listeners.append(listener)
            if self.kind:
                listener.set()

    def check(self) -> None:
        """Raises Stopped once a request was made."""
        if self.event.is_set():
            raise Stopped(self.message)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What an attempt is, and what all its parts need."""

    spec: Spec
    home: Home
    folder: AttemptFolder
    timing: Timing
    stop: StopRequest
    holding: Holding | None = None  # of the session, whose lease this attempt runs on; None: it takes one over
    link: SupervisorEnd | None = None  # to the front that started it

    @property
    def leads(self) -> bool:
        return leads(self.spec)

    def ring(self) -> None:
        """Tells the front that there is something new in the folder."""
        if self.link is not None:
            self.link.ring()


def leads(spec: Spec) -> bool:
    """Whether this worker holds the lease, gives the value and writes the outcome."""
    return spec.worker == 0 and spec.slice_index == 0
