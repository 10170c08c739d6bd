"""Connect to a node's worker: its address and host keys from the TPU API, never trusted on first sight."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from launcher import keys
from launcher.cloud.retry import Deadline
from launcher.cloud.seams import Endpoint, GuestAttributes, Node, Target, Transport
from launcher.errors import Cancelled, ConnectError
from launcher.fleet.platform import Platform

CONNECT_TIMEOUT_S = 300.0  # sshd, guest agent and key propagation of a fresh node take up to two minutes
_POLL_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def host_keys(
    platform: Platform, zone: str, node: str, workers: int, cancel: threading.Event
) -> tuple[GuestAttributes, ...]:
    """Guest attributes of every worker, waiting until each has published host keys."""
    deadline = Deadline(platform.clock, CONNECT_TIMEOUT_S)
    for step in range(1_000_000):
        attributes = platform.nodes.guest_attributes(zone, node)
        missing = [k for k in range(workers) if k >= len(attributes) or not attributes[k].host_keys]
        if not missing:
            return attributes
        if deadline.expired:
            raise ConnectError(
                f"worker {missing[0]} of {node} published no SSH host key within {CONNECT_TIMEOUT_S:g} s, so it "
                "cannot be told from an impostor. Check that the organisation policy "
                "compute.disableGuestAttributesAccess is off and OS Login does not replace the guest agent."
            )
        _pause(platform, step, deadline, cancel)
    raise AssertionError("unreachable")


def connect(
    platform: Platform,
    *,
    zone: str,
    node: Node,
    worker: int,
    pinned: dict[str, str],
    hostname: str,
    owner: str,
    cancel: threading.Event,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> Transport:
    """An open transport to one worker. Retries what a booting worker answers until `timeout_s`; ConnectError."""
    deadline = Deadline(platform.clock, timeout_s)
    target = _target(platform, zone, node, worker, pinned, hostname, owner)
    for step in range(1_000_000):
        try:
            return platform.connector.connect(target)
        except ConnectError as exc:
            if not exc.transient or deadline.expired:
                raise
        _pause(platform, step, deadline, cancel)
    raise AssertionError("unreachable")


def _target(
    platform: Platform,
    zone: str,
    node: Node,
    worker: int,
    pinned: dict[str, str],
    hostname: str,
    owner: str,
) -> Target:
    profile = platform.profile
    proxy = profile.proxy_command
    if profile.connect == "iap" and not proxy:
        from launcher.cloud.ssh import iap_proxy_command

        proxy = iap_proxy_command(profile.project, zone)
    return Target(
        host=address(node.endpoints, worker, node.name, external=profile.connect == "external"),
        port=profile.ssh_port,
        user=keys.user_name(owner),
        key_file=str(keys.key_pair(profile.name).file),
        host_keys=pinned,
        proxy_command=proxy,
        instance=hostname,
        label=f"worker {worker} of {node.name}",
    )


def address(endpoints: Sequence[Endpoint], worker: int, node: str, *, external: bool) -> str:
    """The address to use for one worker. ConnectError where it has none of the wanted kind."""
    if worker >= len(endpoints):
        raise ConnectError(f"{node} has no worker {worker}: the API lists {len(endpoints)}")
    endpoint = endpoints[worker]
    if external and not endpoint.external:
        raise ConnectError(
            f'worker {worker} of {node} has no external address: set connect = "iap" or "internal" in the profile'
        )
    return endpoint.external if external else endpoint.internal


def _pause(platform: Platform, step: int, deadline: Deadline, cancel: threading.Event) -> None:
    if platform.clock.wait(min(_POLL_S[min(step, len(_POLL_S) - 1)], max(deadline.remaining(), 0.01)), cancel):
        raise Cancelled("cancelled while connecting")
