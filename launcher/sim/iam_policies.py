"""IAM policies as a caller may set them, whatever service they guard."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r"roles/[A-Za-z0-9_.]+|(?:projects|organizations)/[^/]+/roles/[A-Za-z0-9_.]+")
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers"
    r"|(?:deleted:)?(?:user|group|serviceAccount|domain|principal|principalSet|projectOwner|projectEditor"
    r"|projectViewer):\S+"
)


def problem(policy: Any) -> str | None:
    """What makes this no policy, in Google's words; None when it is one."""
    if not isinstance(policy, dict):
        return "A policy to update must be provided."
    bindings = policy.get("bindings", [])
    if not isinstance(bindings, list) or not all(isinstance(each, dict) for each in bindings):
        return "Request contains an invalid argument."
    for binding in bindings:
        role, bound = binding.get("role"), binding.get("members", [])
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            return f"Role {role} is not supported for this resource."
        if not isinstance(bound, list):
            return "Request contains an invalid argument."
        for member in bound:
            if not isinstance(member, str) or not _MEMBER.fullmatch(member):
                return f"Invalid argument: The member {member} is of an unknown type."
        if "condition" in binding and policy.get("version") != 3:
            return "Conditional role bindings need a policy of version 3."
    return None


def members(policy: dict[str, Any], role: str | None = None) -> set[str]:
    """Who has a role, or any role, by this policy."""
    bindings = [each for each in policy.get("bindings", []) if role in (None, each["role"])]
    return {member for binding in bindings for member in binding.get("members", [])}
