from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.records import codec
from launcher.records.jobs import Blob, ErrorInfo, JobRecord, JobStatus, Report, WorkerStatus
from launcher.records.spec import Spec

TEXT = st.text(max_size=30)
BLOBS = st.builds(Blob, sha256=TEXT, size=st.integers(0, 2**50))
ERRORS = st.builds(
    ErrorInfo, kind=TEXT, message=TEXT, traceback=TEXT, exit_code=st.none() | st.integers(0, 255), signal=TEXT
)
RECORDS = st.builds(
    JobRecord,
    job_id=TEXT,
    owner=TEXT,
    platform=TEXT,
    name=TEXT,
    created=st.floats(0, 4e9),
    accelerator=TEXT,
    chips=st.integers(1, 9000),
    hosts=st.integers(1, 2000),
    zones=st.tuples(TEXT, TEXT),
    runtime_version=TEXT,
    python=TEXT,
    payload=BLOBS,
    agent=BLOBS,
    uv=BLOBS,
    lock_cpu=BLOBS,
    lock_tpu=BLOBS,
    archive=st.none() | BLOBS,
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    timeout_s=st.none() | st.floats(0.1, 1e6),
)


@given(RECORDS)
def test_a_job_record_arrives_as_it_was(record: JobRecord) -> None:
    assert codec.decode(JobRecord, codec.encode(record)) == record


@given(RECORDS, TEXT)
def test_nested_records_arrive_as_they_were(record: JobRecord, secret: str) -> None:
    spec = Spec(record, 1, "z", "q", "p", "b", "s", "t", "token", "00", secrets={"K": secret})
    assert codec.decode(Spec, codec.encode(spec)) == spec


@given(st.sampled_from(JobStatus), st.none() | ERRORS)
def test_a_report_arrives_as_it_was(status: JobStatus, error: ErrorInfo | None) -> None:
    report = Report("job", 1, 0, status, "ab", 3, error, 1.5)
    assert codec.decode(Report, codec.encode(report)) == report


def test_a_newer_record_with_unknown_keys_still_loads() -> None:
    document = json.loads(codec.encode(Blob("ab", 3)))
    newer = json.dumps({**document, "schema": 99, "colour": "blue"})
    assert codec.decode(Blob, newer) == Blob("ab", 3)


def test_an_older_record_without_optional_keys_still_loads() -> None:
    document = json.loads(codec.encode(WorkerStatus(1, 0, "running", 5.0, timings_s={"a": 1.0})))
    for added_later in ("pid", "exit_code", "log_bytes", "timings_s"):
        del document[added_later]
    assert codec.decode(WorkerStatus, json.dumps(document)) == WorkerStatus(1, 0, "running", 5.0)


@pytest.mark.parametrize(
    "data, complaint",
    [
        ("[]", "expected a JSON object"),
        ("{", "not JSON"),
        ('{"size": 3}', "Blob.sha256 is missing"),
        ('{"sha256": 3, "size": 3}', "Blob.sha256: expected str, got int"),
        ('{"sha256": "a", "size": true}', "Blob.size: expected int, got bool"),
    ],
)
def test_a_malformed_record_names_the_field(data: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        codec.decode(Blob, data)


def test_an_unknown_status_is_refused_by_name() -> None:
    data = codec.encode(Report("job", 1, 0, JobStatus.FAILED)).replace(b"FAILED", b"EXPLODED")
    with pytest.raises(ValueError, match=r"Report\.status.*EXPLODED"):
        codec.decode(Report, data)


@given(RECORDS)
def test_secrets_and_the_key_do_not_show_in_a_repr(record: JobRecord) -> None:
    secret, key = "s3cr3t-value-of-a-token", "5f" * 32
    spec = Spec(
        record, 1, "z", "q", "p", "b", "s", "t", "lease", key, secrets={"TOKEN": secret}, index_args={"U": secret}
    )
    assert secret not in repr(spec) and key not in repr(spec)
