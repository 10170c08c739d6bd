"""A bucket's IAM policy: what it shows, and what may replace it."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from launcher.sim import iam_policies
from launcher.sim.gcs.errors import GcsError, invalid, precondition_failed
from launcher.sim.gcs.model import BucketRecord

_ANYBODY = {"allUsers", "allAuthenticatedUsers"}


def policy_resource(record: BucketRecord) -> dict[str, Any]:
    """The policy as it was set, with the etag of that setting."""
    policy = record.policy or {"kind": "storage#policy", "version": 1, "bindings": []}
    return {**policy, "etag": _etag(record.policy_generation)}


def with_policy(record: BucketRecord, policy: dict[str, Any]) -> BucketRecord:
    """The bucket with another policy. GcsError 400 for what is none, 412 if its etag is not the present one's."""
    if (wrong := iam_policies.problem(policy)) is not None:
        raise invalid(wrong)
    if policy.get("etag") not in (None, "", _etag(record.policy_generation)):
        raise precondition_failed()
    protected = record.fields.get("iamConfiguration", {}).get("publicAccessPrevention") == "enforced"
    if protected and iam_policies.members(policy) & _ANYBODY:
        message = (
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention "
            "is enforced."
        )
        raise GcsError(412, "conditionNotMet", message)
    return replace(record, policy=policy, policy_generation=record.policy_generation + 1)


def _etag(generation: int) -> str:
    """As Google's look: a protocol buffer with the number in its first field."""
    encoded = [0x08]
    while generation > 0x7F:
        encoded.append(generation & 0x7F | 0x80)
        generation >>= 7
    return base64.b64encode(bytes([*encoded, generation])).decode()
