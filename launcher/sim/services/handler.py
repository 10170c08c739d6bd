"""Create, get, list, change and delete, for every kind of every service. Reads as Google's refusals do: strictly."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

from launcher.sim.gcs.model import merged
from launcher.sim.http import GoogleError
from launcher.sim.services import iam
from launcher.sim.services.backend import COMPUTE, Call, digest, invalid, missing
from launcher.sim.state import Body
from launcher.sim.tpu_paging import page
from launcher.sim.tpu_schema import camel

_FIXED = {"name", "createTime", "uid", "etag", "updateTime", "selfLink"}  # nobody can change these
_REFERENCE = re.compile(r"projects/[^/]+/(?:global|regions/[^/]+)/[a-z]+/[^/]+$")


async def answer(call: Call) -> Body:
    """What a request comes to. Raises GoogleError."""
    verb = call.action or call.method
    if call.id is not None and verb in call.kind.actions:
        done = call.kind.actions[verb](call)
        return await done if inspect.isawaitable(done) else done
    if call.kind.policy and call.id is not None and call.action:
        call.existing()
        return iam.answer(call.backend, call.key, call.method, call.action, call.body, reads=call.kind.policy)
    if call.action:
        raise no_such_method(call)
    return _plain(call)


def _plain(call: Call) -> Body:
    match call.method, call.id:
        case "GET", None:
            return _list(call)
        case "GET", _:
            return call.kind.shown(call, call.existing())
        case "POST", None if call.kind.id_in not in (None, "PUT"):
            return _create(call)
        case "PUT", str() if call.kind.id_in == "PUT":
            return _create(call)
        case (("PATCH" | "PUT"), str()):
            return _update(call)
        case "DELETE", str():
            return delete(call)
    raise no_such_method(call)


def _create(call: Call) -> Body:
    kind = call.kind
    body = call.body.get(kind.wrapped) if kind.wrapped else call.body
    if not isinstance(body, dict):
        raise invalid()
    call.id = _new_id(call, body)
    if lacking := [each for each in kind.required if body.get(each) in (None, "", [], {})]:
        raise invalid(f"Required field '{lacking[0]}' is not set.")
    check_parent(call)
    _check_references(call, body)
    if call.key in call.store.resources:
        raise call.taken()
    return _written(call, "create", kind.fill(call, copy.deepcopy(body)))


def _new_id(call: Call, body: Body) -> str:
    """What a create names its resource. 400 for no name, or for one that the kind cannot have."""
    place = call.kind.id_in
    if place == "":
        return call.store.number()
    if place == "PUT":
        found: object = call.id
    elif place is not None and place.startswith("?"):
        found = call.query.get(camel(place[1:]))
    else:
        found = call.body.get(place or "", body.get(place or ""))
        found = found.removeprefix(f"{call.collection}/") if isinstance(found, str) else found
    if not isinstance(found, str) or not re.fullmatch(call.kind.ids, found):
        raise invalid(f"Invalid value for field 'name': '{found or ''}'. Must be a match of regex '{call.kind.ids}'")
    return found


def check_parent(call: Call) -> None:
    """404 where the resource that this collection is of is not there."""
    owner = call.kind.path.removesuffix(f"/{call.kind.leaf}").removesuffix("/*")
    kinds = [kind for kinds in call.service.versions.values() for kind in kinds]
    if any(kind.path == owner for kind in kinds) and f"{call.service.host}/{call.parent}" not in call.store.resources:
        raise missing(call.service, call.parent)


def _check_references(call: Call, body: Body) -> None:
    for name in call.kind.refers:
        found = _REFERENCE.search(str(body.get(name, "")))
        # Every project has had a network called default; the simulated one need not declare it.
        if found is None or found.group().endswith("/networks/default"):
            continue
        if f"{COMPUTE}/{found.group()}" not in call.store.resources:
            raise GoogleError(404, f"The resource '{found.group()}' was not found", reason="notFound")


def _update(call: Call) -> Body:
    old = call.existing()
    change = call.body
    mask = call.query.get("updateMask") or change.get("updateMask")
    if "updateMask" in change and len(change) == 2:  # as Pub/Sub and IAM wrap what changes
        change = next(value for key, value in change.items() if key != "updateMask")
    if "fingerprint" in change and change["fingerprint"] != old.get("fingerprint"):
        raise GoogleError(412, "Invalid fingerprint.", "FAILED_PRECONDITION", reason="conditionNotMet")
    if isinstance(mask, str):
        new = _masked(old, change, [path.strip() for path in mask.split(",") if path.strip()])
    else:
        kept = {key: value for key, value in change.items() if key not in _FIXED}
        # Compute Engine merges; elsewhere a field that is sent replaces the old one.
        new = merged(old, kept) if call.service.host == COMPUTE else {**copy.deepcopy(old), **kept}
    return _written(call, "update", call.kind.fill(call, new))


def _masked(old: Body, change: Body, paths: list[str]) -> Body:
    """`old` with exactly the fields in the mask as they are in `change`: gone where they are not there."""
    new: Body = copy.deepcopy(old)
    for path in paths:
        *parents, last = [camel(part) for part in path.split(".")]
        if not last or (parents or [last])[0] in _FIXED:
            raise invalid(f'The update mask has the invalid field "{path}".')
        source: Any = change
        target: Any = new
        for part in parents:
            source = source.get(part) if isinstance(source, dict) else None
            if not isinstance(target.get(part), dict):
                target[part] = {}
            target = target[part]
        if isinstance(source, dict) and last in source:
            target[last] = source[last]
        else:
            target.pop(last, None)
    return new


def _written(call: Call, verb: str, body: Body) -> Body:
    """Keep the resource; answer with it or with the operation that made it."""
    if "updateTime" in body:
        body["updateTime"] = call.backend.now()
    for field in ("etag", "fingerprint"):
        if field in body:
            body[field] = digest(body)
    call.store.resources[call.key] = body
    if verb == "create":
        call.kind.changed(call, verb)
    return finished(call, verb, body)


def finished(call: Call, verb: str, body: Body | None) -> Body:
    """Save, and answer as the service does: with the resource, with nothing, or with an operation."""
    service = call.service
    if service.operation is not None and verb in service.long:
        done = service.operation(call, verb, body)
    else:
        done = {} if body is None else call.kind.shown(call, body)
    call.store.save()
    return done


def delete(call: Call) -> Body:
    """Delete a resource, what is below it, and its policy."""
    call.existing()
    call.kind.changed(call, "delete")
    call.store.forget(call.key)
    return finished(call, "delete", None)


def _list(call: Call) -> Body:
    if "filter" in call.query:
        raise GoogleError(501, "The simulator does not filter this list.", reason="notImplemented")
    if "-" not in call.parent.split("/"):
        check_parent(call)
    any_of = "/".join("[^/]+" if part == "-" else re.escape(part) for part in call.collection.split("/"))
    one = ".+" if call.kind.leaf == "metrics" else "[^/]+"  # only the name of a log-based metric has slashes
    pattern = re.compile(f"{re.escape(call.service.host)}/{any_of}/{one}")
    found = [body for key, body in sorted(call.store.resources.items()) if pattern.fullmatch(key)]
    shown = [call.kind.shown(call, body) for body in found if not body.get("deleted")]
    sizes = {"pageSize": call.query.get("pageSize") or call.query.get("maxResults", "")}
    answer = page(call.kind.listed or call.kind.leaf, shown, {**call.query, **sizes})
    if call.service.host == COMPUTE:
        items = {"items": answer.pop(call.kind.leaf)} if call.kind.leaf in answer else {}
        return {"kind": f"compute#{call.kind.leaf.removesuffix('s')}List", **items, **answer}
    return answer


def no_such_method(call: Call) -> GoogleError:
    """404 for what the service does not do with this resource."""
    what = f"{call.method} {call.collection}" + (f"/{call.id}" if call.id else "")
    message = f"The simulator's {call.service.host} has no {what}{':' if call.action else ''}{call.action}."
    return GoogleError(404, message, reason="notFound")
