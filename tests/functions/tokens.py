"""The identity token of a caller, as Cloud Run hands it on to a function."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

CALLER = "tpu-scheduler@project.iam.gserviceaccount.com"
AUDIENCE = "https://tpu-idle-shutdown-abc-uc.a.run.app"


def bearer(**claims: Any) -> dict[str, str]:
    """The header of a request by CALLER for AUDIENCE. A claim that is None is left out."""
    now = int(time.time())
    wanted = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": CALLER,
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    parts = [{"alg": "RS256", "typ": "JWT"}, {name: value for name, value in wanted.items() if value is not None}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return {"Authorization": f"Bearer {'.'.join(encoded)}.SIGNATURE_REMOVED_BY_GOOGLE"}
