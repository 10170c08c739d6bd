"""From an outcome to a value or an exception: whose word counts, and what is never unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import types
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pytest

from launcher import errors, results
from launcher.fleet.platform import Platform
from launcher.records import codec, signing
from launcher.records.jobs import Blob, ErrorInfo, JobRecord, JobStatus, Outcome, Report
from launcher.records.paths import JobPaths

KEY = signing.new_key()
NOTHING = Blob("0" * 64, 0)
JOB = JobRecord(
    job_id="20260101-000000000-aaaaaa",
    owner="ada",
    platform="p",
    name="f",
    created=0.0,
    accelerator="v5litepod-1",
    chips=1,
    hosts=1,
    zones=("z",),
    runtime_version="r",
    python="3.11",
    **dict.fromkeys(["payload", "agent", "uv", "lock_cpu", "lock_tpu"], NOTHING),
)


class Bucket:
    """A store that holds one result."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def download(self, name: str, target: BinaryIO) -> int | None:
        assert name == JobPaths("ada", JOB.job_id).result(1)
        return None if self.data is None else target.write(self.data)


class Touched:
    """Tells when it is unpickled."""

    times = 0

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return touch, ()


def touch() -> None:
    Touched.times += 1


GOOD = pickle.dumps({"x": 1})
TOUCH = pickle.dumps(Touched())


def outcome(
    data: bytes | None = GOOD,
    status: JobStatus = JobStatus.SUCCEEDED,
    error: ErrorInfo | None = None,
    signature: str | None = None,
    job_id: str = JOB.job_id,
) -> Outcome:
    digest = "" if data is None else hashlib.sha256(data).hexdigest()
    text = codec.encode(Report(job_id, 1, 0, status, digest, len(data or b""), error)).decode()
    return Outcome(JOB.job_id, status, text, signing.sign(KEY, text) if signature is None else signature)


def load(
    end: Outcome,
    data: bytes | None = GOOD,
    *,
    key: str | None = KEY,
    trust: bool = False,
    confirm: Callable[[], Outcome | None] = lambda: None,
) -> Any:
    platform = types.SimpleNamespace(store=Bucket(data), profile=types.SimpleNamespace(bucket="b"))
    return results.load(cast(Platform, platform), JOB, end, key=key, trust_bucket=trust, confirm=confirm)


@pytest.fixture(autouse=True)
def untouched() -> None:
    Touched.times = 0


def test_a_signed_result_is_the_value() -> None:
    assert load(outcome()) == {"x": 1}


@pytest.mark.parametrize(
    "end",
    [
        outcome(TOUCH, signature=""),
        outcome(TOUCH, signature="0" * 64),
        outcome(TOUCH, signature="é\ud800"),
        outcome(TOUCH, job_id="20260101-000000000-bbbbbb"),
        dataclasses.replace(outcome(TOUCH, JobStatus.FAILED), status=JobStatus.SUCCEEDED),
        dataclasses.replace(outcome(TOUCH), report="no JSON"),
        dataclasses.replace(outcome(TOUCH), report=outcome(TOUCH).report.replace('"worker":0', '"worker":"\ud800"')),
        outcome(GOOD),
        outcome(TOUCH[:-1]),
    ],
    ids=["unsigned", "wrong", "odd", "other job", "status", "report", "surrogate", "other bytes", "longer"],
)
def test_with_the_key_nothing_else_is_unpickled(end: Outcome) -> None:
    with pytest.raises(errors.ResultUntrusted):
        load(end, TOUCH)
    assert Touched.times == 0


def test_a_forged_exception_is_not_unpickled_either() -> None:
    forged = outcome(TOUCH, JobStatus.FAILED, ErrorInfo("exception", "m", "ValueError", "tb"), signature="0" * 64)
    with pytest.raises(errors.ResultUntrusted):
        load(forged, TOUCH)
    assert Touched.times == 0


def test_without_the_key_a_live_worker_that_says_the_same_is_believed() -> None:
    end = outcome()
    assert load(end, key=None, confirm=lambda: end) == {"x": 1}
    other = outcome(b"other")
    for says in (None, other):
        with pytest.raises(errors.ResultUntrusted, match="--trust-bucket"):
            load(outcome(TOUCH), TOUCH, key=None, confirm=lambda says=says: says)
    assert Touched.times == 0


def test_without_the_key_the_caller_may_trust_the_bucket_but_not_other_bytes() -> None:
    assert load(outcome(signature=""), key=None, trust=True) == {"x": 1}
    with pytest.raises(errors.ResultUntrusted, match="was changed"):
        load(outcome(), TOUCH, key=None, trust=True)
    assert Touched.times == 0


def test_without_the_key_an_exception_is_told_as_text_alone() -> None:
    end = outcome(TOUCH, JobStatus.FAILED, ErrorInfo("exception", "boom", "m.Odd", "the traceback", base="ValueError"))
    with pytest.raises(ValueError, match="boom") as caught:
        load(end, TOUCH, key=None)
    assert isinstance(caught.value, errors.RemoteError) and "the traceback" in str(caught.value.__cause__)
    assert Touched.times == 0


def test_an_unsigned_cancellation_from_elsewhere_is_believed() -> None:
    end = outcome(None, JobStatus.CANCELLED, ErrorInfo("Cancelled", "by ada"), signature="")
    with pytest.raises(errors.Cancelled, match="by ada"):
        load(end)


@pytest.mark.parametrize("kind", ["Sequence", "NoSuchError", "annotations", "RemoteTraceback"])
def test_an_error_of_an_unknown_kind_is_a_job_error(kind: str) -> None:
    with pytest.raises(errors.JobError, match="words"):
        load(outcome(None, JobStatus.FAILED, ErrorInfo(kind, "words")))


def test_an_exception_is_raised_as_its_own_type_with_the_remote_traceback_as_its_cause() -> None:
    data = pickle.dumps(ZeroDivisionError("by nought"))
    end = outcome(data, JobStatus.FAILED, ErrorInfo("exception", "by nought", "ZeroDivisionError", "line 7"))
    with pytest.raises(ZeroDivisionError, match="by nought") as caught:
        load(end, data)
    assert isinstance(caught.value.__cause__, errors.RemoteTraceback) and "line 7" in str(caught.value.__cause__)


@pytest.mark.parametrize("base", ["ValueError", "KeyError", "OSError", "FileNotFoundError", "StopIteration"])
def test_the_nearest_type_keeps_the_message_as_it_is(base: str) -> None:
    built = results.nearest(ErrorInfo("exception", "gone 'x'", "mine.Odd", "tb", base=base))
    assert type(built).__name__ == "Odd" and str(built) == "mine.Odd: gone 'x'"
    assert any(each.__name__ == base for each in type(built).__mro__)


@pytest.mark.parametrize(
    "type_name, base",
    [("m.Odd", "UnicodeDecodeError"), ("m.Odd", "SystemExit"), ("m.Odd", "print"), ("m.Od\0d", "ValueError")],
)
def test_where_no_such_type_can_be_made_it_is_a_remote_error(type_name: str, base: str) -> None:
    built = results.nearest(ErrorInfo("exception", "m", type_name, "tb", base=base))
    assert type(built) is errors.RemoteError and built.traceback_text == "tb"


def test_a_missing_package_is_named() -> None:
    data = b"cno_such_package\nThing\n."
    with pytest.raises(errors.ResultUnavailable, match="'no_such_package'"):
        load(outcome(data), data)


def test_a_result_that_is_gone_or_broken_says_so() -> None:
    with pytest.raises(errors.ResultUnavailable, match="no longer in bucket b"):
        load(outcome(), None)
    with pytest.raises(errors.ResultUnavailable, match="cannot be read here"):
        load(outcome(b"\x80\x05garbage"), b"\x80\x05garbage")
