"""Policies with etags: read, replaced, or refused because somebody else was faster."""

from __future__ import annotations

import base64
from typing import Any

from launcher.sim import iam_policies
from launcher.sim.google_calls import IAM
from launcher.sim.http import GoogleError
from launcher.sim.services.backend import Backend, invalid
from launcher.sim.state import Body
from launcher.sim.tpu_schema import camel

_EMPTY: Body = {"version": 1, "etag": "ACAB", "bindings": []}


def answer(backend: Backend, key: str, method: str, action: str, body: Body, *, reads: str) -> Body:
    """getIamPolicy (by the method `reads`), setIamPolicy or testIamPermissions of the resource `key`."""
    match method, action:
        case _, "getIamPolicy" if method == reads:
            return backend.store.policies.get(key, _EMPTY)
        case "POST", "setIamPolicy":
            return _replace(backend, key, body)
        case "POST", "testIamPermissions":
            return held(backend, body)
    raise GoogleError(404, f"The simulator has no {method} …:{action}.", reason="notFound")


def held(backend: Backend, body: Body) -> Body:
    """testIamPermissions: all that were asked for, but those that a fault takes away."""
    asked = body.get("permissions")
    if not isinstance(asked, list):
        raise invalid()
    missing = backend.faults.values("missing-permission")
    found = [each for each in asked if each not in missing]
    return {"permissions": found} if found else {}


def _replace(backend: Backend, key: str, body: Body) -> Body:
    policy = body.get("policy")
    if (wrong := iam_policies.problem(policy)) is not None:
        raise invalid(wrong)
    assert isinstance(policy, dict)  # problem() has seen to that
    old = backend.store.policies.get(key, _EMPTY)
    if policy.get("etag") not in (None, "", old["etag"]):
        message = (
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff. "
            f"The request's ETag '{policy['etag']}' did not match the current policy's ETag '{old['etag']}'."
        )
        raise GoogleError(409, message, "ABORTED", reason="aborted")
    _check_new(backend, old, policy)
    mask = [camel(path.strip()) for path in str(body.get("updateMask") or "bindings,etag").split(",")]
    kept: dict[str, Any] = {name: value for name, value in old.items() if name not in (*mask, "etag", "version")}
    kept |= {name: policy[name] for name in mask if name in policy}
    number = int(backend.store.number())
    etag = base64.b64encode(b"\x07" + number.to_bytes(8, "big")[1:]).decode()
    new = {**kept, "etag": etag, "version": policy.get("version", 1)}
    backend.store.policies[key] = new
    backend.store.save()
    return new


def _check_new(backend: Backend, old: Body, policy: Body) -> None:
    """400 for a service account or a custom role of this project that is bound anew and is not there."""
    ours = f"@{backend.project}.iam.gserviceaccount.com"
    for member in sorted(iam_policies.members(policy) - iam_policies.members(old)):
        email = member.removeprefix("serviceAccount:")
        account = f"{IAM}/projects/{backend.project}/serviceAccounts/{email}"
        if member.startswith("serviceAccount:") and email.endswith(ours) and account not in backend.store.resources:
            raise invalid(f"Service account {email} does not exist.")
    before = {binding["role"] for binding in old.get("bindings", [])}
    for role in sorted({binding["role"] for binding in policy.get("bindings", [])} - before):
        if role.startswith(f"projects/{backend.project}/"):
            found = backend.store.resources.get(f"{IAM}/{role}")
            if found is None or found.get("deleted"):
                raise invalid(f"Role ({role}) does not exist in the resource's hierarchy.")
