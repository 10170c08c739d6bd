from __future__ import annotations

import json

import pytest
import requests
from google.api_core import exceptions as google_exceptions
from google.auth import exceptions as auth_exceptions

from launcher.cloud.retry import Call, Deadline, classify_failure, map_error, with_retries
from launcher.errors import (
    ApiDisabled,
    CloudError,
    Conflict,
    InvalidRequest,
    NotFound,
    OutOfCapacity,
    PermissionDenied,
    QuotaExceeded,
    Unavailable,
)
from tests.cloud.relay import FakeClock, google_error

CALL = Call(
    action="creating sim-1 in us-central1-a",
    resource="project p-123",
    project="p-123",
    service="tpu.googleapis.com",
    permission="tpu.queuedResources.create",
    member="user:eva@example.com",
    grant="gcloud projects add-iam-policy-binding p-123 --member={member}",
    capacity=True,
)
RATE = "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service 'tpu'"


def answer(status: int, message: str, reason: str = "") -> Exception:
    """The exception that google-api-core makes of an HTTP answer."""
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps(google_error(status, message, reason=reason)).encode()
    response.request = requests.Request("POST", "https://tpu.googleapis.com/v2/x").prepare()
    error: Exception = google_exceptions.from_http_response(response)
    return error


@pytest.mark.parametrize(
    "code, reason, expected",
    [
        (8, 'There is no more capacity in the zone "us-central1-a"', OutOfCapacity),
        (8, "Not enough resources available; quota is fine", OutOfCapacity),
        (8, "", OutOfCapacity),
        (8, "Quota 'TPUV5sLitepodPerProjectPerZoneForTPUAPI' exhausted. Limit 16 in zone us-west4-a", QuotaExceeded),
        (8, RATE, Unavailable),
        (13, "internal: insufficient capacity", OutOfCapacity),
        (13, "An internal error occurred", Unavailable),
        (14, "", Unavailable),
        (10, "aborted", Unavailable),
        (4, "the request expired before resources were found (valid until)", OutOfCapacity),
        (9, "The request could not be honoured before it expired", OutOfCapacity),
        (9, "the network has no subnetwork in this region", InvalidRequest),
        (3, "accelerator type is not available in zone", InvalidRequest),
        (5, "runtime version not found", NotFound),
        (6, "exists", Conflict),
        (7, "service account missing", PermissionDenied),
        (7, "Cloud TPU API has not been used in project 12 before or it is disabled", ApiDisabled),
        (16, "who are you", PermissionDenied),
        (0, "", CloudError),
        (2, "unknown", CloudError),
    ],
)
def test_a_late_failure_by_code_and_words(code: int, reason: str, expected: type[CloudError]) -> None:
    assert classify_failure(code, reason) is expected


@pytest.mark.parametrize(
    "error, expected, words",
    [
        (answer(429, "There is no more capacity in the zone"), OutOfCapacity, "zone="),
        (answer(429, "Quota 'X' exhausted. Limit 16"), QuotaExceeded, r"quotas\?project=p-123"),
        (answer(403, "Quota limit 'X' has been exceeded. Limit: 0"), QuotaExceeded, "quotas"),
        (answer(429, RATE), Unavailable, "per minute"),
        (answer(403, "too fast", "RATE_LIMIT_EXCEEDED"), Unavailable, "too fast"),
        (answer(503, "no more capacity"), OutOfCapacity, "zone="),
        (answer(503, "backend"), Unavailable, "backend"),
        (answer(403, "disabled", "SERVICE_DISABLED"), ApiDisabled, r"enable tpu\.googleapis\.com --project p-123"),
        (
            answer(403, "Permission 'tpu.nodes.create' denied on resource '//tpu.googleapis.com/x'"),
            PermissionDenied,
            r"user:eva@example\.com lacks tpu\.nodes\.create on project p-123.*--member=user:eva@example\.com",
        ),
        (
            answer(403, "Permission denied on 'locations/us-east5-z' (or it may not exist)."),
            PermissionDenied,
            r"See if there is a zone us-east5-z: gcloud .* If so, user:eva@example\.com lacks "
            r"tpu\.queuedResources\.create",
        ),
        (answer(403, "no"), PermissionDenied, r"lacks tpu\.queuedResources\.create"),
        (answer(401, "expired"), PermissionDenied, "gcloud auth application-default login"),
        (answer(400, "Invalid runtime version"), InvalidRequest, "Invalid runtime version"),
        (answer(404, "zone not found"), NotFound, "zone not found"),
        (answer(409, "exists"), Conflict, "exists"),
        (answer(412, "precondition"), Conflict, "precondition"),
        (auth_exceptions.RefreshError("invalid_grant"), PermissionDenied, "gcloud auth application-default login"),
        (auth_exceptions.TransportError("no route"), Unavailable, "no route"),
        (requests.ConnectionError("reset by peer"), Unavailable, "reset by peer"),
        (requests.ReadTimeout("slow"), Unavailable, "slow"),
        (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), CloudError, "REQUESTS_CA_BUNDLE"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_foreign_errors_become_the_most_specific_of_ours(
    error: Exception, expected: type[CloudError], words: str
) -> None:
    found = map_error(error, CALL)
    assert type(found) is expected
    assert str(found).startswith("creating sim-1 in us-central1-a: ")
    with pytest.raises(expected, match=words):
        raise found
    # Not accepted anywhere, so that no other zone is worth asking.
    if isinstance(found, PermissionDenied):
        assert found.credentials == ("application-default login" in words)


def test_code_8_is_no_stockout_where_nothing_is_created() -> None:
    reading = Call(action="reading", resource="project p")
    assert type(map_error(answer(429, "Resource has been exhausted"), reading)) is Unavailable


def test_an_uploads_session_is_not_shown() -> None:
    said = "Max retries exceeded with url: /upload/b?uploadType=resumable&upload_id=SECRET (Caused by reset)"
    assert "SECRET" not in str(map_error(requests.ConnectionError(said), CALL))
    assert "(Caused by reset)" in str(map_error(requests.ConnectionError(said), CALL))


class TestWithRetries:
    def test_what_will_not_change_is_not_repeated(self, clock: FakeClock) -> None:
        calls = []

        def fail() -> None:
            calls.append(1)
            raise answer(403, "no")

        with pytest.raises(PermissionDenied) as caught:
            with_retries(fail, CALL, clock=clock, deadline=Deadline(clock, 60))
        assert len(calls) == 1
        assert isinstance(caught.value.__cause__, google_exceptions.Forbidden)

    def test_pauses_grow_and_end_with_the_deadline(self, clock: FakeClock) -> None:
        def fail() -> None:
            raise requests.ConnectionError("gone")

        with pytest.raises(Unavailable, match="gone"):
            with_retries(fail, CALL, clock=clock, deadline=Deadline(clock, 300))
        assert sum(clock.waits) == pytest.approx(300)
        assert 0.25 <= clock.waits[0] <= 0.5
        assert all(pause <= 20 for pause in clock.waits)
        assert max(clock.waits) > 8

    def test_without_a_deadline_it_goes_on(self, clock: FakeClock) -> None:
        left = [requests.ConnectionError("gone")] * 200

        def fail_often() -> str:
            if left:
                raise left.pop()
            return "done"

        assert with_retries(fail_often, CALL, clock=clock, deadline=Deadline(clock, None)) == "done"

    def test_our_own_mistakes_are_not_hidden(self, clock: FakeClock) -> None:
        def fail() -> None:
            raise KeyError("a bug")

        with pytest.raises(KeyError):
            with_retries(fail, CALL, clock=clock, deadline=Deadline(clock, 60))
        assert clock.waits == []
