"""Who may call a function, and what others are told."""

from __future__ import annotations

import time
from typing import Any

import pytest

from launcher.functions import caller
from tests.functions.tokens import AUDIENCE, CALLER, bearer


def check(authorization: str, audience: str = AUDIENCE) -> None:
    caller.check(authorization, caller=CALLER, audience=audience, now=time.time())


def test_the_token_of_the_caller_for_this_function_passes() -> None:
    check(bearer()["Authorization"])
    check(bearer(aud=f"{AUDIENCE}/")["Authorization"])
    check(bearer()["Authorization"].replace("Bearer", "bearer"))


@pytest.mark.parametrize(
    "claims, status, culprit",
    [
        ({"aud": "https://tpu-budget-guard-abc-uc.a.run.app"}, 403, "tpu-budget-guard"),
        ({"aud": None}, 403, "audience is None"),
        ({"aud": [AUDIENCE]}, 403, "audience"),
        ({"email": "mallory@project.iam.gserviceaccount.com"}, 403, "mallory@project.iam.gserviceaccount.com"),
        ({"email": None}, 403, "None"),
        ({"email_verified": False}, 403, CALLER),
        ({"email_verified": "true"}, 403, CALLER),
        ({"email_verified": None}, 403, CALLER),
        ({"exp": time.time() - 1}, 401, "expired"),
        ({"exp": None}, 401, "expired"),
        ({"exp": True}, 401, "expired"),
        ({"exp": "9999999999"}, 401, "expired"),
    ],
)
def test_any_wrong_claim_is_refused_with_what_is_wrong(claims: dict[str, Any], status: int, culprit: str) -> None:
    with pytest.raises(caller.Refused, match=culprit) as refused:
        check(bearer(**claims)["Authorization"])
    assert refused.value.status == status


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Bearer a.b", "Bearer a.b.c", "Bearer .W10.", "Bearer .é.", "Basic YTpi"],
)
def test_what_is_no_token_is_refused(authorization: str) -> None:
    with pytest.raises(caller.Refused, match="token") as refused:
        check(authorization)
    assert refused.value.status == 401
