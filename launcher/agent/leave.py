"""After the attempt: a node that nobody is about to delete deletes itself, so that it never idles."""

from __future__ import annotations

import sys

from launcher.agent.failures import AgentError
from launcher.agent.lease import LeaseKeeper, delete_queued_resource
from launcher.agent.rest import HttpError
from launcher.agent.services import Services
from launcher.agent.timing import Clock, Timing
from launcher.records.spec import Spec


def leave(
    spec: Spec,
    keeper: LeaseKeeper,
    services: Services,
    timing: Timing,
    clock: Clock,
    *,
    client_connected: bool,
) -> None:
    """Leaves the deletion to a connected client for a while; then condemns the lease and asks for it. A client that
    deletes the node ends this process with it."""
    reason = "the job ended and nobody was connected"
    if client_connected:
        clock.wait(timing.client_grace_s)
        reason = "the job ended and its client did not delete the node"
    keeper.close()
    try:
        if keeper.condemn(services.lasting, reason):
            delete_queued_resource(services.rest, spec)
    except (AgentError, HttpError) as exc:
        # The node's timer and the reaper find it; here only the agent's log can tell.
        print(f"cannot delete {spec.queued_resource}: {exc}", file=sys.stderr)
