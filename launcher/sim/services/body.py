"""A request's body as the services take it."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from launcher.sim.http import GoogleError
from launcher.sim.state import Body


async def json_body(request: Request) -> Body:
    """The body as a JSON object, {} for none. 400 for anything else."""
    content = await request.body()
    try:
        body: Any = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError) as error:
        raise GoogleError(400, f"Invalid JSON payload received. {error}", reason="parseError") from error
    if not isinstance(body, dict):
        raise GoogleError(400, "Invalid JSON payload received. Expected an object.", reason="parseError")
    return body
