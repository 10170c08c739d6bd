"""How an attempt can end early, inside the agent, and the request that makes it end."""

from __future__ import annotations

import threading

from launcher.records.jobs import ErrorInfo


class AttemptFailed(Exception):
    """The attempt cannot go on; `info` is what its report says."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.info = ErrorInfo(kind=kind, message=message)


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
        self._listeners: list[threading.Event] = []

    def request(self, kind: str, message: str) -> None:
        with self._lock:
            if self.kind:
                return
            self.kind, self.message = kind, message
            self.event.set()
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
