"""Secret Manager: a version holds its data until it is destroyed."""

from __future__ import annotations

import base64
import binascii

import google_crc32c

from launcher.sim.google_calls import PROJECT_NUMBER
from launcher.sim.http import GoogleError
from launcher.sim.services.backend import Call, invalid, missing
from launcher.sim.services.fills import standard
from launcher.sim.state import Body

_MOST_BYTES = 64 << 10


def secret(call: Call, body: Body) -> Body:
    """Secret Manager names everything by the project's number."""
    return {**standard(call, body), "name": _numbered(call.name)}


def version(call: Call, body: Body) -> Body:
    """Only addVersion makes one."""
    return body


def add_version(call: Call) -> Body:
    """POST …:addVersion."""
    call.existing()
    payload = call.body.get("payload")
    data = payload.get("data") if isinstance(payload, dict) else None
    try:
        content = base64.b64decode(data or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise invalid("Invalid value at 'payload.data' (TYPE_BYTES), Base64 decoding failed.") from error
    if not 0 < len(content) <= _MOST_BYTES:
        raise invalid(f"The secret payload must have 1 to {_MOST_BYTES} bytes, this one has {len(content)}.")
    checked = _verified(content, call.body["payload"].get("dataCrc32c"))
    numbers = [int(key.rpartition("/")[2]) for key in _versions(call)]
    name = f"{call.name}/versions/{max(numbers, default=0) + 1}"
    added: Body = {
        "name": _numbered(name),
        "createTime": call.backend.now(),
        "state": "ENABLED",
        "etag": call.store.number(),
        "replicationStatus": {"automatic": {}},
        **checked,
    }
    call.store.resources[f"{call.service.host}/{name}"] = added
    call.store.payloads[name] = str(data)
    call.store.save()
    return added


def _verified(content: bytes, checksum: object) -> Body:
    """What a version says of a checksum that came with its data. 400 for a wrong one."""
    if checksum is None:
        return {}
    if str(checksum) != str(google_crc32c.value(content)):
        raise invalid("The payload's data does not match its dataCrc32c.")
    return {"clientSpecifiedPayloadChecksum": True}


def enable(call: Call) -> Body:
    """POST …:enable."""
    return _turned(call, "ENABLED")


def disable(call: Call) -> Body:
    """POST …:disable."""
    return _turned(call, "DISABLED")


def destroy(call: Call) -> Body:
    """POST …:destroy: the data is gone for good."""
    turned = _turned(call, "DESTROYED")
    call.store.payloads.pop(call.name, None)
    call.store.save()
    return turned


def access(call: Call) -> Body:
    """GET …:access; `latest` is the version that was added last."""
    found = get(call)
    if found["state"] != "ENABLED":
        raise _wrong_state(found)
    data = call.store.payloads[call.name]
    checksum = google_crc32c.value(base64.b64decode(data))
    return {"name": found["name"], "payload": {"data": data, "dataCrc32c": str(checksum)}}


def get(call: Call) -> Body:
    """A version, also by the name `latest`."""
    if call.id == "latest":
        numbers = [int(key.rpartition("/")[2]) for key in _versions(call)]
        if not numbers:
            raise missing(call.service, call.name)
        call.id = str(max(numbers))
    return call.existing()


def deleted(call: Call, verb: str) -> None:
    """With the secret the data of its versions goes."""
    if verb == "delete":
        for name in [name for name in call.store.payloads if name.startswith(f"{call.name}/")]:
            del call.store.payloads[name]


def _turned(call: Call, state: str) -> Body:
    found = get(call)
    if found["state"] == "DESTROYED" and state != "DESTROYED":
        raise _wrong_state(found)
    found["state"] = state
    call.store.save()
    return found


def _wrong_state(found: Body) -> GoogleError:
    message = f"Secret Version [{found['name']}] is in {found['state']} state."
    return GoogleError(400, message, "FAILED_PRECONDITION", reason="failedPrecondition")


def _versions(call: Call) -> list[str]:
    """The keys of all versions of the secret that the call is about, or is below."""
    secret = call.name if call.kind.leaf == "secrets" else call.parent
    return [key for key in call.store.resources if key.startswith(f"{call.service.host}/{secret}/versions/")]


def _numbered(name: str) -> str:
    return f"projects/{PROJECT_NUMBER}/{name.split('/', 2)[2]}"
