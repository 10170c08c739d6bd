"""What happens besides: a Scheduler job that is run calls its target, a Pub/Sub message is pushed to who subscribed."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from typing import Any

from launcher.sim.services import targets
from launcher.sim.services.backend import Call, invalid
from launcher.sim.state import Body
from launcher.sim.tpu_schema import duration_s

PUBSUB = "pubsub.googleapis.com"
_ATTEMPTS = 3  # of a push; Google goes on for the message's retention
_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 503: 14, 504: 4}
_INTERNAL = 13

_log = logging.getLogger(__name__)


def pause(call: Call) -> Body:
    """POST …:pause."""
    return _job_turned(call, "PAUSED")


def resume(call: Call) -> Body:
    """POST …:resume."""
    return _job_turned(call, "ENABLED")


async def run(call: Call) -> Body:
    """POST …:run: one attempt at the job's target, over when this returns; `status` says how it went."""
    job = call.existing()
    sent = await _attempt(call, job)
    job["lastAttemptTime"] = call.backend.now()
    code = _RPC_CODES.get(sent.status, _INTERNAL)
    job["status"] = {} if sent.ok else {"code": code, "message": sent.problem}
    call.store.save()
    return job


async def _attempt(call: Call, job: Body) -> targets.Sent:
    if "pubsubTarget" in job:
        target = job["pubsubTarget"]
        message = {key: target[key] for key in ("data", "attributes") if key in target}
        await _deliver(call, target["topicName"], call.store.number(), message)
        return targets.Sent(200)
    target = job["httpTarget"]
    headers = {
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": str(call.id),
        **target.get("headers", {}),
    }
    return await targets.send(
        call.backend,
        target.get("httpMethod", "POST"),
        target["uri"],
        headers,
        base64.b64decode(target.get("body", "")),
        _with_audience(target.get("oidcToken"), target["uri"]),
        duration_s(job.get("attemptDeadline", "180s")),
    )


async def publish(call: Call) -> Body:
    """POST …:publish: each message is pushed before this returns."""
    call.existing()
    messages = call.body.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_message(each) for each in messages):
        raise invalid("Some messages in the batch have neither data nor attributes.")
    ids = [call.store.number() for _ in messages]
    for number, message in zip(ids, messages, strict=True):
        await _deliver(call, call.name, number, message)
    call.store.save()
    return {"messageIds": ids}


async def _deliver(call: Call, topic: str, number: str, message: Body) -> None:
    now = call.backend.now()
    full = {**message, "messageId": number, "message_id": number, "publishTime": now, "publish_time": now}
    for key, subscription in list(call.store.resources.items()):
        push: Any = subscription.get("pushConfig") or {}
        if not key.startswith(f"{PUBSUB}/") or subscription.get("topic") != topic or "pushEndpoint" not in push:
            continue
        content = json.dumps({"message": full, "subscription": subscription["name"]}).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "CloudPubSub-Google",
        }
        endpoint = push["pushEndpoint"]
        for _ in range(_ATTEMPTS):
            oidc = _with_audience(push.get("oidcToken"), endpoint)
            sent = await targets.send(call.backend, "POST", endpoint, headers, content, oidc)
            if sent.ok:
                break
        else:
            _log.warning("message %s of %s was not delivered: %s", number, topic, sent.problem)


def _with_audience(oidc: Body | None, uri: str) -> Body | None:
    return {**oidc, "audience": oidc.get("audience") or uri} if oidc else None


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not (message.get("data") or message.get("attributes")):
        return False
    try:
        base64.b64decode(message.get("data", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        return False
    return True


def _job_turned(call: Call, state: str) -> Body:
    job = call.existing()
    job["state"] = state
    call.store.save()
    return job
