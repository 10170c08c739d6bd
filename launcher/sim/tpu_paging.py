"""Query parameters and pages of the Cloud TPU API."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.requests import Request

from launcher.sim.state import Body
from launcher.sim.tpu_schema import bad_request, camel

_DEFAULT_PAGE_SIZE = 100
_LARGEST_PAGE_SIZE = 1000
#: Parameters that every Google API takes.
_SYSTEM = frozenset(
    {
        "$alt", "alt", "$.xgafv", "$prettyPrint", "prettyPrint", "$fields", "fields", "$callback", "callback",
        "key", "quotaUser", "access_token", "oauth_token", "uploadType", "upload_protocol", "$unique",
    }
)  # fmt: skip


def query_parameters(request: Request, *known: str) -> dict[str, str]:
    """The query, keys in camelCase, without the parameters every API takes. 400 for one not in `known`."""
    parameters: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if camel(key) in known:
            parameters[camel(key)] = value
        elif key not in _SYSTEM:
            text = f"Cannot bind query parameter. Field '{key}' could not be found in request message."
            raise bad_request([("", f'Invalid JSON payload received. Unknown name "{key}": {text}')])
    return parameters


def page(kind: str, items: list[Body], parameters: dict[str, str]) -> dict[str, Any]:
    """One page of `items` (each with a `name`) as a list answer, and the token of the next."""
    try:
        size = int(parameters.get("pageSize") or 0)
    except ValueError:
        size = -1
    if size < 0:
        text = f"Invalid value at 'page_size' (TYPE_INT32), \"{parameters['pageSize']}\""
        raise bad_request([("page_size", text)])
    size = min(size or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)
    start = _position(items, parameters.get("pageToken", ""))
    shown = items[start : start + size]
    answer: dict[str, Any] = {kind: shown} if shown else {}
    if start + size < len(items):
        answer["nextPageToken"] = base64.urlsafe_b64encode(shown[-1]["name"].encode()).decode()
    return answer


def _position(items: list[Body], token: str) -> int:
    """Where the page after the item that `token` names begins, also when that item is gone."""
    if not token:
        return 0
    try:
        last = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_request([("page_token", f"The page token '{token}' is invalid.")]) from error
    names = [item["name"] for item in items]
    if last in names:
        return names.index(last) + 1
    return sum(name <= last for name in names)
