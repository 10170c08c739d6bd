"""Get a node: reserve, create, wait. Every state of the API has its reaction in the two tables below."""

from __future__ import annotations

import threading
import time

from launcher import keys
from launcher.accelerators import Accelerator
from launcher.cloud.retry import classify_failure
from launcher.cloud.seams import Node, NodeSpec, Progress, QueuedResource
from launcher.errors import CloudError, Conflict, OutOfCapacity, Preempted, Unavailable, WorkerLost
from launcher.fleet import lease_book
from launcher.fleet.platform import Platform, Poll
from launcher.fleet.startup import startup_script
from launcher.records import codec, paths
from launcher.records.jobs import Intent, JobRecord
from launcher.records.leases import Lease, reserve
from launcher.records.swap import create_once, same_token

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
    "TERMINATED": (FAIL, "terminated"),
    "HIDING": (FAIL, "being hidden"),
    "HIDDEN": (FAIL, "hidden"),
    "UNHIDING": (WAIT, "being unhidden"),
    "UNKNOWN": (WAIT, "not known"),
}

_QUEUE_FOR_S = 24 * 3600.0  # a waiting request whose client died expires by itself after this
_SEEN_WITHIN_S = 60.0  # an accepted request that stays invisible for longer is lost


def write_intent(platform: Platform, job: JobRecord, attempt: int, why: str) -> Intent:
    """intent.json, before any cloud call: whoever reads it can replay or undo the attempt."""
    resource = paths.queued_resource_id(job.platform, job.job_id, attempt)
    intent = Intent(job.job_id, attempt, job.zones[0], resource, paths.node_id(resource), why, time.time())
    data = codec.encode(intent)
    name = paths.JobPaths(job.owner, job.job_id).intent(attempt)
    if not same_token(create_once(platform.store, name, data), data):
        raise Conflict(f"attempt {attempt} of job {job.job_id} was started by another process already")
    return intent


def reserve_lease(platform: Platform, job: JobRecord, intent: Intent) -> Lease:
    lease = reserve(
        resource=intent.queued_resource,
        zone=intent.zone,
        platform=job.platform,
        owner=job.owner,
        holder=f"{job.job_id}/{intent.attempt}",
        accelerator=job.accelerator,
        spot=job.spot,
    )
    lease_book.create(platform.store, lease)
    return lease


def create_node(
    platform: Platform, job: JobRecord, intent: Intent, progress: Progress, cancel: threading.Event
) -> None:
    """Asks for the queued resource until the request is accepted and can be seen, so that a deletion hits it."""
    spec = _node_spec(platform, job, intent)
    poll = Poll(platform.clock, timeout_s=job.wait_timeout_s, longest_s=20.0, cancel=cancel)
    while True:
        try:
            platform.nodes.create_queued_resource(intent.zone, spec)
            break
        except Conflict:
            break  # our own earlier request was heard: the id is ours alone
        except Unavailable as exc:
            if poll.expired:
                raise
            progress.phase("wait", f"{intent.zone}: {exc}")
        poll.pause()
    poll = Poll(platform.clock, timeout_s=_SEEN_WITHIN_S)
    while True:
        try:
            if platform.nodes.get_queued_resource(intent.zone, intent.queued_resource) is not None:
                return
        except Unavailable:
            if cancel.is_set():
                raise
            poll = Poll(platform.clock, timeout_s=_SEEN_WITHIN_S)  # nobody could look
        if poll.expired:
            raise WorkerLost(f"queued resource {intent.queued_resource} was accepted and is not there")
        poll.pause()


def _node_spec(platform: Platform, job: JobRecord, intent: Intent) -> NodeSpec:
    profile = platform.profile
    script = startup_script(
        project=profile.project,
        zone=intent.zone,
        queued_resource=intent.queued_resource,
        bucket=profile.bucket,
        platform=job.platform,
        owner=job.owner,
        storage_endpoint=profile.storage_endpoint,
        tpu_endpoint=profile.tpu_endpoint,
        max_lifetime_s=job.max_lifetime_s,
    )
    return NodeSpec(
        queued_resource=intent.queued_resource,
        node=intent.node,
        accelerator=job.accelerator,
        runtime_version=job.runtime_version,
        labels={**job.labels, "launcher-platform": job.platform, "launcher-owner": job.owner},
        metadata={
            **keys.ssh_keys_metadata(job.owner, keys.key_pair(profile.name)),
            "enable-guest-attributes": "TRUE",
            "startup-script": script,
        },
        spot=job.spot,
        external_ip=profile.connect == "external",
        network=profile.network,
        subnetwork=profile.subnetwork,
        service_account=profile.service_account,
        valid_for_s=max(min(job.wait_timeout_s or _QUEUE_FOR_S, _QUEUE_FOR_S), 60.0),
    )


def wait_until_ready(
    platform: Platform,
    job: JobRecord,
    intent: Intent,
    progress: Progress,
    cancel: threading.Event,
    renewal: lease_book.Renewal,
) -> Node:
    """Waits until the node is READY, telling each change of state. Raises what the state says otherwise.

    An outage of the API does not end the wait before its deadline.
    """
    poll = Poll(platform.clock, timeout_s=job.wait_timeout_s, cancel=cancel)
    words = told = ""
    while True:
        if renewal.lost:
            raise WorkerLost(f"the node was taken away while waiting for it: {renewal.lost}")
        try:
            resource, node = _look(platform, intent)
        except Unavailable as exc:
            words = str(exc)
        else:
            _check(intent, resource, node, job.accelerator)
            if node is not None and NODE_STATES.get(node.state, (WAIT, ""))[0] == READY:
                return node
            words = _words(resource, node)
        if words != told:
            progress.phase("wait", f"{intent.zone}: {words}")
            told = words
        if poll.expired:
            raise OutOfCapacity(
                f"no {job.accelerator} in {intent.zone} within wait_timeout_s={job.wait_timeout_s:g}; last state: "
                f"{words}. Give another zone=…, spot=True or a longer wait_timeout_s."
            )
        poll.pause()


def _look(platform: Platform, intent: Intent) -> tuple[QueuedResource | None, Node | None]:
    """The queued resource, and its node once it is ACTIVE."""
    resource = platform.nodes.get_queued_resource(intent.zone, intent.queued_resource)
    if resource is None or QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, ""))[0] != READY:
        return resource, None
    return resource, platform.nodes.get_node(intent.zone, intent.node)


def _check(intent: Intent, resource: QueuedResource | None, node: Node | None, accelerator: str) -> None:
    """Raises where resource or node can only be given up."""
    if resource is None:
        raise WorkerLost(f"queued resource {intent.queued_resource} is gone: somebody deleted it")
    reaction, words = QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, ""))
    if reaction == FAIL:
        raise _failure(intent, resource, words, accelerator)
    if node is None:
        return
    reaction, words = NODE_STATES.get(node.state, (WAIT, ""))
    if reaction == FAIL:
        kind = Preempted if node.state == "PREEMPTED" else WorkerLost
        raise kind(f"node {intent.node} in {intent.zone} is {words} ({node.state}) before the job started")


def _failure(intent: Intent, resource: QueuedResource, words: str, accelerator: str) -> Exception:
    where = f"{accelerator} in {intent.zone}"
    if resource.state == "FAILED":
        kind: type[CloudError] = classify_failure(resource.error_code, resource.reason)
        advice = {
            "OutOfCapacity": "Try another zone=…, spot=True or spot=False, or later.",
            "QuotaExceeded": "Ask for more quota (IAM & Admin > Quotas), or use another zone=….",
        }.get(kind.__name__, "")
        return kind(f"{where}: the request failed: {resource.reason or 'no reason given'}. {advice}".rstrip())
    if resource.state in ("SUSPENDING", "SUSPENDED"):
        return Preempted(f"{where}: {words} before the job started. {resource.reason}".rstrip())
    return WorkerLost(f"{where}: queued resource {intent.queued_resource} is {words}")


def _words(resource: QueuedResource | None, node: Node | None) -> str:
    assert resource is not None  # _check saw to it
    words = QUEUED_RESOURCE_STATES.get(resource.state, (WAIT, "a state this version does not know"))[1]
    text = f"{words} ({resource.state})"
    if node is not None:
        state = NODE_STATES.get(node.state, (WAIT, "a state this version does not know"))[1]
        text = f"node {state} ({node.state})"
    return f"{text}: {resource.reason}" if resource.reason else text


def check_hosts(node: Node, accelerator: Accelerator) -> None:
    """The registry's host count against what the API built. Raises WorkerLost when they differ."""
    if len(node.endpoints) != accelerator.hosts:
        raise WorkerLost(
            f"node {node.name} has {len(node.endpoints)} workers, {accelerator.name} should have "
            f"{accelerator.hosts}: not using it"
        )
