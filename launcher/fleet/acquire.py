"""Get a new node: zone after zone, never two at once, until one is READY or every zone has answered."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence

from launcher import keys
from launcher.accelerators import Accelerator, hourly_usd, parse
from launcher.cloud.retry import Deadline
from launcher.cloud.seams import Node, NodeSpec, Progress
from launcher.errors import (
    ApiDisabled,
    Cancelled,
    CloudError,
    InvalidRequest,
    LauncherError,
    NotFound,
    OutOfCapacity,
    PermissionDenied,
    Preempted,
    QuotaExceeded,
    Unavailable,
    WorkerLost,
)
from launcher.fleet import lease_book, room
from launcher.fleet.platform import Platform
from launcher.fleet.release import release
from launcher.fleet.request import NodeRequest
from launcher.fleet.startup import startup_script
from launcher.fleet.waiting import QUEUE_FOR_S, Try, Wait
from launcher.records import paths
from launcher.records.leases import Lease, reserve
from launcher.records.policy import PLATFORM_LABEL, POOL_LABEL

__all__ = ["Granted", "Try", "acquire", "check_hosts"]

_ZONE_DOWN_S = 60.0  # an API that does not answer for so long gives way to the next zone
_GONE_WITHIN_S = 10 * 60.0  # a deletion takes Google one to three minutes
_LOOK_S = 2.0

_SHORT: tuple[tuple[type[LauncherError], str], ...] = (
    (OutOfCapacity, "no capacity"),
    (QuotaExceeded, "no quota"),
    (Preempted, "taken back"),
    (Unavailable, "no answer"),
    (PermissionDenied, "not permitted"),
    (InvalidRequest, "request refused"),
    (NotFound, "not found"),
)


@dataclasses.dataclass(frozen=True)
class Granted:
    """A READY node. Its lease is RESERVED and renewed until close().

    `left`: tries in zones whose API did not answer. Their leases are condemned; that nothing was made there
    has still to be seen.
    """

    try_: Try
    lease: Lease
    node: Node
    renewal: lease_book.Renewal
    left: tuple[Try, ...] = ()

    def close(self) -> None:
        """After this nothing is written any more: the lease can be handed over."""
        self.renewal.stop()


def acquire(
    platform: Platform,
    request: NodeRequest,
    holder: str,
    progress: Progress,
    cancel: threading.Event,
    on_try: Callable[[Try], None],
    still_wanted: Callable[[], None],
) -> Granted:
    """A new node for `holder`, from the first place that has one: spot in all zones, then on demand.

    `on_try` is told each try before any call that it makes, `still_wanted` raises when its lease stands and nothing was
    asked for yet. Whatever is raised, the last try's resource is the caller's to release; of earlier ones only those
    in zones whose API did not answer can be there, condemned. PoolFull: what is asked for next is not allowed now.
    """
    deadline = Deadline(platform.clock, request.wait_timeout_s)
    places = [(zone, spot) for spot in _markets(request) for zone in request.zones]
    answers: list[tuple[Try, LauncherError]] = []
    left: list[Try] = []
    with _told_when_over(progress):
        for number, (zone, spot) in enumerate(places, 1):
            _check(cancel)
            room.check_room(platform, room.pool_of(platform, request, spot))
            one = _try(request, number, zone, spot, answers)
            on_try(one)
            lease = _reserve(platform, request, one, holder)
            still_wanted()
            others = places[number:]
            wait = Wait(platform, one, request.accelerator, progress, cancel, deadline, tried=_tried(request, answers))
            wait.queue_s = min(deadline.remaining() / (1 + len(others)), QUEUE_FOR_S)
            wait.patience_s = _ZONE_DOWN_S if any(other != zone for other, _ in others) else None
            try:
                node, renewal = _one(platform, request, wait, lease)
                return Granted(one, lease, node, renewal, tuple(left))
            except (CloudError, Preempted) as exc:
                answers.append((one, exc))
                if not _elsewhere(exc) or not others or deadline.expired:
                    if number == 1:
                        raise
                    raise _sum(request, answers) from exc
                wait.tell(f"{_short(exc)}, deleting the request before another is made")
            if not _clear(platform, one, holder, cancel, sure=wait.accepted) and wait.doubtful:
                left.append(one)
    raise AssertionError("a request names no zone")


@contextlib.contextmanager
def _told_when_over(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.phase("waited")


def check_hosts(node: Node, accelerator: Accelerator) -> None:
    """The registry's host count against what the API built. Raises WorkerLost when they differ."""
    if len(node.endpoints) != accelerator.hosts:
        raise WorkerLost(
            f"node {node.name} has {len(node.endpoints)} workers, {accelerator.name} should have "
            f"{accelerator.hosts}: not using it"
        )


def _markets(request: NodeRequest) -> tuple[bool, ...]:
    return (True, False) if request.spot and request.spot_fallback else (request.spot,)


def _try(request: NodeRequest, number: int, zone: str, spot: bool, answers: Sequence[tuple[Try, LauncherError]]) -> Try:
    resource = request.resource_id(number)
    why = f"{_place(request, answers[-1][0])}: {_short(answers[-1][1])}" if answers else "first choice"
    return Try(number, zone, resource, paths.node_id(resource), spot, why)


def _reserve(platform: Platform, request: NodeRequest, one: Try, holder: str) -> Lease:
    pool = room.pool_of(platform, request, one.spot)
    lease = reserve(
        ttl_s=platform.profile.lease_ttl_s,
        resource=one.queued_resource,
        zone=one.zone,
        platform=request.platform,
        owner=request.owner,
        holder=holder,
        accelerator=request.accelerator,
        spot=one.spot,
        job=request.job,
        runtime_version=request.runtime_version,
        labels={**request.labels, POOL_LABEL: pool.name} if pool else request.labels,
        keep_warm_s=request.keep_warm_s,
        max_lifetime_s=request.max_lifetime_s,
        usd_per_hour=hourly_usd(parse(request.accelerator), one.zone, one.spot),
    )
    lease_book.create(platform.store, lease)
    room.admit(platform, pool, lease)
    return lease


def _one(platform: Platform, request: NodeRequest, wait: Wait, lease: Lease) -> tuple[Node, lease_book.Renewal]:
    """One try to its READY node, with its lease being renewed; nothing renews it after an exception."""
    renewal = lease_book.Renewal(platform.store, lease, platform.clock)
    renewal.__enter__()
    try:
        wait.tell(f"asking for {request.accelerator}{_market(request, wait.one)}")
        try:
            wait.create(_node_spec(platform, request, wait, lease))
        except (InvalidRequest, NotFound) as exc:
            raise type(exc)(f"{exc} {wait.advice(InvalidRequest)}") from exc
        node = wait.until_ready(renewal)
        check_hosts(node, parse(request.accelerator))
        return node, renewal
    except BaseException:
        renewal.stop()
        raise


def _node_spec(platform: Platform, request: NodeRequest, wait: Wait, lease: Lease) -> NodeSpec:
    profile, one = platform.profile, wait.one
    script = startup_script(
        project=profile.project,
        zone=one.zone,
        queued_resource=one.queued_resource,
        bucket=profile.bucket,
        platform=request.platform,
        owner=request.owner,
        storage_endpoint=profile.storage_endpoint,
        tpu_endpoint=profile.tpu_endpoint,
        max_lifetime_s=request.max_lifetime_s,
        policy=profile.policy,
    )
    return NodeSpec(
        queued_resource=one.queued_resource,
        node=one.node,
        accelerator=request.accelerator,
        runtime_version=request.runtime_version,
        labels={**lease.labels, PLATFORM_LABEL: request.platform, "launcher-owner": request.owner},
        metadata={
            **keys.ssh_keys_metadata(request.owner, keys.key_pair(profile.name)),
            "enable-guest-attributes": "TRUE",
            "startup-script": script,
        },
        spot=one.spot,
        # Google's default network lets everybody try SSH: there an address is only for who connects by it.
        external_ip=profile.external_ip and (profile.connect == "external" or profile.network != ""),
        network=profile.network,
        subnetwork=profile.subnetwork,
        service_account=profile.service_account,
        valid_for_s=max(wait.queue_s, 60.0),
        reservation=request.reservation,
    )


def _elsewhere(exc: LauncherError) -> bool:
    """Whether another zone can answer something else."""
    everywhere = isinstance(exc, ApiDisabled) or (isinstance(exc, PermissionDenied) and exc.credentials)
    return not everywhere


def _clear(platform: Platform, one: Try, holder: str, cancel: threading.Event, *, sure: bool) -> bool:
    """Condemns and deletes what a failed try may have made, until that is seen gone.

    False where the API does not answer there and never told that it took the request (`sure`).
    """
    deadline = Deadline(platform.clock, _GONE_WITHIN_S)
    problem: CloudError | None = None
    while True:
        try:
            if release(
                platform,
                one.zone,
                one.queued_resource,
                by=holder,
                reason="another zone is tried",
                timeout_s=_LOOK_S if sure else 0.0,
            ):
                return True
            sure, problem = True, None
        except CloudError as exc:
            if not sure:
                return False
            if not isinstance(exc, Unavailable):
                raise
            problem = exc
        _check(cancel)
        if deadline.expired:
            raise problem or Unavailable(
                f"{one.queued_resource} in {one.zone} is still being deleted after {_GONE_WITHIN_S / 60:g} min, so no "
                "other zone was asked. See: launcher nodes"
            )


def _check(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled("the job was cancelled")


def _sum(request: NodeRequest, answers: Sequence[tuple[Try, LauncherError]]) -> LauncherError:
    """What every place answered, in order; the class is that of the answer for which most can be done."""
    errors = [exc for _, exc in answers]
    useful = (kind for kind in (OutOfCapacity, QuotaExceeded) if any(isinstance(exc, kind) for exc in errors))
    kind = next(useful, type(errors[-1])) if _elsewhere(errors[-1]) else type(errors[-1])
    lines = [f"  {_place(request, one)}: {exc}" for one, exc in answers]
    return kind("\n".join([f"no {request.accelerator} anywhere it was asked for:", *lines]))


def _short(exc: LauncherError) -> str:
    return next((words for kind, words in _SHORT if isinstance(exc, kind)), "failed")


def _market(request: NodeRequest, one: Try) -> str:
    return "" if not request.spot else " (spot)" if one.spot else " (on demand)"


def _place(request: NodeRequest, one: Try) -> str:
    return f"{one.zone}{_market(request, one)}"


def _tried(request: NodeRequest, answers: Sequence[tuple[Try, LauncherError]]) -> str:
    told = ", ".join(f"{_place(request, one)}: {_short(exc)}" for one, exc in answers)
    return f"; tried {told}" if told else ""
