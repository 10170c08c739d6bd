"""One try to get a node in one zone: ask for it, see that it was heard, wait until it is READY.

Every state of the API has its reaction in the two tables below.
"""

from __future__ import annotations

import dataclasses
import math
import threading

from launcher.cloud.retry import Deadline, classify_failure
from launcher.cloud.seams import Node, NodeSpec, Progress, QueuedResource
from launcher.errors import CloudError, Conflict, LauncherError, OutOfCapacity, Preempted, Unavailable, WorkerLost
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform, Poll

WAIT, READY, FAIL = "wait", "ready", "fail"

# What a waiter does in each state of a queued resource, and how the state is called in words.
QUEUED_RESOURCE_STATES: dict[str, tuple[str, str]] = {
    "STATE_UNSPECIFIED": (WAIT, "not known yet"),
    "CREATING": (WAIT, "request received"),
    "ACCEPTED": (WAIT, "request accepted, not queued yet"),
    "WAITING_FOR_RESOURCES": (WAIT, "queued: waiting for free hardware"),
    "PROVISIONING": (WAIT, "hardware found, starting the workers"),
    "ACTIVE": (READY, "workers started"),
    "SUSPENDING": (FAIL, "being suspended: Google takes the hardware back"),
    "SUSPENDED": (FAIL, "suspended: Google took the hardware back"),
    "FAILED": (FAIL, "failed"),
    "DELETING": (FAIL, "being deleted by somebody else"),
}
NODE_STATES: dict[str, tuple[str, str]] = {
    "STATE_UNSPECIFIED": (WAIT, "not known yet"),
    "CREATING": (WAIT, "being created"),
    "READY": (READY, "ready"),
    "RESTARTING": (WAIT, "restarting"),
    "REIMAGING": (WAIT, "being reimaged"),
    "DELETING": (FAIL, "being deleted by somebody else"),
    "REPAIRING": (WAIT, "under repair"),
    "STOPPED": (FAIL, "stopped"),
    "STOPPING": (FAIL, "being stopped"),
    "STARTING": (WAIT, "starting"),
    "PREEMPTED": (FAIL, "preempted: Google took the hardware back"),
    "TERMINATED": (FAIL, "terminated: Google took the hardware back"),
    "HIDING": (FAIL, "being hidden"),
    "HIDDEN": (FAIL, "hidden"),
    "UNHIDING": (WAIT, "being unhidden"),
    "UNKNOWN": (WAIT, "not known"),
}

QUEUE_FOR_S = 24 * 3600.0  # a waiting request whose client died expires by itself after this
_SEEN_WITHIN_S = 60.0  # an accepted request that stays invisible for longer is lost
_PROVISIONED_WITHIN_S = 20 * 60.0
_READY_WITHIN_S = 15 * 60.0  # from ACTIVE


@dataclasses.dataclass(frozen=True)
class Try:
    """One queued resource that is asked for. `number` counts from 1; `why` it is this one's turn, in words."""

    number: int
    zone: str
    queued_resource: str
    node: str
    spot: bool
    why: str


@dataclasses.dataclass
class Wait:
    """What one try waits with. Times in seconds.

    `deadline`: of the whole search; `queue_s`: this try's part of it; `patience_s`: how long an API that does not
    answer at all is asked before another zone is better, None for as long as there is time. `tried`: for progress.
    """

    platform: Platform
    one: Try
    accelerator: str
    progress: Progress
    cancel: threading.Event
    deadline: Deadline
    queue_s: float = QUEUE_FOR_S
    patience_s: float | None = None
    tried: str = ""
    accepted: bool = False  # the API took the request, as far as it was heard
    doubtful: bool = False  # an answer was lost: it may have taken one that was not heard of
    _told: str = ""

    def tell(self, words: str) -> None:
        """One line for each change. What follows a semicolon is background."""
        line = f"{self.one.zone}: {words}{self.tried}"
        if line != self._told:
            self.progress.phase("wait", line)
            self._told = line

    def create(self, spec: NodeSpec) -> None:
        """Asks for the queued resource until the request is accepted and can be seen, so that a deletion hits it."""
        nodes, one = self.platform.nodes, self.one
        limit_s = min(self.deadline.remaining(), math.inf if self.patience_s is None else self.patience_s)
        poll = Poll(self.platform.clock, timeout_s=limit_s, longest_s=20.0, cancel=self.cancel)
        while not self.accepted:
            try:
                nodes.create_queued_resource(one.zone, spec)
                self.accepted = True
            except Conflict:
                self.accepted = True  # our own earlier request was heard: the id is ours alone
            except Unavailable as exc:
                self.doubtful = True
                if poll.expired:
                    raise
                self.tell(str(exc))
                poll.pause()
        poll = Poll(self.platform.clock, timeout_s=_SEEN_WITHIN_S)
        while True:
            try:
                if nodes.get_queued_resource(one.zone, one.queued_resource) is not None:
                    return
            except Unavailable:
                if self.cancel.is_set() or self.deadline.expired:
                    raise
                poll = Poll(self.platform.clock, timeout_s=_SEEN_WITHIN_S)  # nobody could look
            if poll.expired:
                raise WorkerLost(
                    f"queued resource {one.queued_resource} was accepted in {one.zone} and is not there after "
                    f"{_SEEN_WITHIN_S:g} s. Run it again."
                )
            poll.pause()

    def until_ready(self, renewal: lease_book.Renewal) -> Node:
        """Waits until the node is READY, telling each change of state. Raises what the state says otherwise.

        Each phase has its own limit. An outage of the API ends the wait no sooner than the deadline.
        """
        clock = self.platform.clock
        poll = Poll(clock, timeout_s=self.deadline.remaining(), cancel=self.cancel)
        phase, since = "", clock.monotonic()
        while True:
            if renewal.lost:
                raise WorkerLost(f"the node was taken away while waiting for it: {renewal.lost}")
            try:
                resource, node = self._look()
            except Unavailable as exc:
                words = str(exc)
            else:
                self._check(resource, node)
                if node is not None and NODE_STATES.get(node.state, (WAIT, ""))[0] == READY:
                    return node
                words = _words(resource, node)
                now, limits = _phase(resource.state, self.queue_s)
                phase, since = now, since if now == phase else clock.monotonic()
                if clock.monotonic() - since >= limits:
                    raise self._too_long(phase, limits, words)
            self.tell(words)
            if self.deadline.expired:
                raise OutOfCapacity(
                    f"no {self.accelerator} in {self.one.zone} within wait_timeout_s; last state: {words}. {_MORE_TIME}"
                )
            poll.pause()

    def _look(self) -> tuple[QueuedResource, Node | None]:
        """The queued resource, and its node once it is ACTIVE."""
        one, nodes = self.one, self.platform.nodes
        resource = nodes.get_queued_resource(one.zone, one.queued_resource)
        if resource is None:
            raise WorkerLost(f"queued resource {one.queued_resource} is gone: somebody deleted it")
        if QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, ""))[0] != READY:
            return resource, None
        return resource, nodes.get_node(one.zone, one.node)

    def _check(self, resource: QueuedResource, node: Node | None) -> None:
        """Raises where resource or node can only be given up."""
        reaction, words = QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, ""))
        if reaction == FAIL:
            raise self._failure(resource, words)
        if node is None:
            return
        reaction, words = NODE_STATES.get(node.state, (WAIT, ""))
        if reaction == FAIL:
            kind = Preempted if node.state in ("PREEMPTED", "TERMINATED") else WorkerLost
            raise kind(f"node {node.name} in {self.one.zone} is {words} ({node.state}) before the job started")

    def _failure(self, resource: QueuedResource, words: str) -> LauncherError:
        where = f"{self.accelerator} in {self.one.zone}"
        if resource.state == "FAILED":
            kind: type[CloudError] = classify_failure(resource.error_code, resource.reason)
            said = (resource.reason or "no reason given").rstrip(".")
            advice = self.advice(kind)
            return kind(f"{where}: the request failed: {said}. {advice}".rstrip())
        if resource.state in ("SUSPENDING", "SUSPENDED"):
            return Preempted(f"{where}: {words} before the job started. {resource.reason}".rstrip())
        return WorkerLost(f"{where}: queued resource {self.one.queued_resource} is {words}")

    def advice(self, kind: type[LauncherError]) -> str:
        """What to do about an answer of this kind, as one command where there is one."""
        project = self.platform.profile.project
        offers = f"list --zone {self.one.zone} --project {project}"
        return {
            "OutOfCapacity": "Give more zones (zone=[…]), spot=True or spot=False, or try later.",
            "QuotaExceeded": f"Ask for more at https://console.cloud.google.com/iam-admin/quotas?project={project}, "
            "or use a zone where you have quota.",
            "PermissionDenied": "What is missing: launcher doctor",
            "ApiDisabled": f"Enable the API: gcloud services enable tpu.googleapis.com --project {project}",
            "InvalidRequest": f"What the zone offers: gcloud compute tpus tpu-vm accelerator-types {offers} "
            f"(images: gcloud compute tpus tpu-vm versions {offers})",
        }.get(kind.__name__, "")

    def _too_long(self, phase: str, limit_s: float, words: str) -> LauncherError:
        where = f"{self.accelerator} in {self.one.zone}"
        if phase == "queued":
            return OutOfCapacity(f"no {where} after {limit_s:g} s in the queue; last state: {words}. {_MORE_TIME}")
        return Unavailable(
            f"{where}: {phase} took more than {limit_s / 60:g} min; last state: {words}. Try again, or another zone=…."
        )


_MORE_TIME = "Give another zone=…, spot=True or a longer wait_timeout_s."


def _phase(state: str, queue_s: float) -> tuple[str, float]:
    """Name and limit of the phase that a state of a queued resource belongs to."""
    if state == "PROVISIONING":
        return "starting the workers (PROVISIONING)", _PROVISIONED_WITHIN_S
    if QUEUED_RESOURCE_STATES.get(state, (WAIT, ""))[0] == READY:
        return "getting the node ready (ACTIVE)", _READY_WITHIN_S
    return "queued", queue_s


def _words(resource: QueuedResource, node: Node | None) -> str:
    words = QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, "a state this version does not know"))[1]
    text = f"{words} ({resource.state})"
    if node is not None:
        state = NODE_STATES.get(node.state, (WAIT, "a state this version does not know"))[1]
        text = f"node {state} ({node.state})"
    return f"{text}: {resource.reason}" if resource.reason else text
