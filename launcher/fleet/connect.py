"""Connect to a node's worker: its address and host keys from the TPU API, never trusted on first sight."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from launcher import keys
from launcher.cloud.seams import Endpoint, GuestAttributes, Node, Target, Transport
from launcher.errors import ConnectError, Unavailable
from launcher.fleet.platform import Platform, Poll

_TELL_AFTER_S = 10.0  # a booting worker refuses for a while; what lasts longer is worth a line
CONNECT_TIMEOUT_S = 300.0  # sshd, guest agent and key propagation of a fresh node take up to two minutes


def host_keys(
    platform: Platform, zone: str, node: str, workers: int, cancel: threading.Event
) -> tuple[GuestAttributes, ...]:
    """Guest attributes of every worker, waiting until each has published host keys."""
    poll = Poll(platform.clock, timeout_s=CONNECT_TIMEOUT_S, cancel=cancel)
    while True:
        try:
            attributes = platform.nodes.guest_attributes(zone, node)
        except Unavailable:  # a passing outage
            if poll.expired:
                raise
            attributes = ()
        missing = [k for k in range(workers) if k >= len(attributes) or not attributes[k].host_keys]
        if not missing:
            return attributes
        if poll.expired:
            raise ConnectError(
                f"worker {missing[0]} of {node} published no SSH host key within {CONNECT_TIMEOUT_S:g} s, so it "
                "cannot be told from an impostor. Check that the organisation policy "
                "compute.disableGuestAttributesAccess is off, that OS Login does not replace the guest agent, and that "
                "the node had enable-guest-attributes = TRUE in its metadata when it booted (of Terraform's tpu_vms, "
                "those with queued = false have)."
            )
        poll.pause()


def connect(
    platform: Platform,
    *,
    zone: str,
    node: Node,
    worker: int,
    pinned: GuestAttributes,
    owner: str,
    cancel: threading.Event | None = None,
    timeout_s: float = CONNECT_TIMEOUT_S,
    tell: Callable[[str], None] = lambda line: None,
) -> Transport:
    """An open transport to one worker. Retries what a booting worker answers until `timeout_s`, telling the reason
    once it has lasted _TELL_AFTER_S; ConnectError."""
    profile = platform.profile
    proxy = profile.proxy_command
    if profile.connect == "iap" and not proxy:
        from launcher.cloud.ssh import iap_proxy_command

        proxy = iap_proxy_command(profile.project, zone)
    target = Target(
        host=_address(node.endpoints, worker, node.name, external=profile.connect == "external"),
        port=profile.ssh_port,
        user=keys.user_name(owner),
        key_file=str(keys.key_pair(profile.name).file),
        host_keys=pinned.host_keys,
        proxy_command=proxy,
        instance=pinned.hostname,
        label=f"worker {worker} of {node.name}",
    )
    poll = Poll(platform.clock, timeout_s=timeout_s, cancel=cancel)
    started = platform.clock.monotonic()
    told = ""
    while True:
        try:
            return platform.connector.connect(target)
        except ConnectError as exc:
            if not exc.transient or poll.expired:
                raise
            reason = str(exc).partition("\n")[0]
            if reason != told and platform.clock.monotonic() - started >= _TELL_AFTER_S:
                tell(f"not connected yet, trying for {timeout_s:g} s: {reason}")
                told = reason
        poll.pause()


def _address(endpoints: Sequence[Endpoint], worker: int, node: str, *, external: bool) -> str:
    """The address to use for one worker. ConnectError where it has none of the wanted kind."""
    if worker >= len(endpoints):
        raise ConnectError(f"{node} has no worker {worker}: the API lists {len(endpoints)}")
    endpoint = endpoints[worker]
    if external and not endpoint.external:
        raise ConnectError(
            f'worker {worker} of {node} has no external address: set connect = "iap" or "internal" in the profile'
        )
    return endpoint.external if external else endpoint.internal
