from __future__ import annotations

import threading

import pytest

from launcher.errors import PackagingError
from launcher.records import paths
from launcher.shipping import blobs
from launcher.shipping.blobs import LocalBlob, of_bytes, upload_blob
from tests.shipping.conftest import MemoryBucket

SMALL = of_bytes(b"small")
LARGE = of_bytes(b"x" * 100_000)


@pytest.fixture(autouse=True)
def nothing_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_confirmed", {})


def name(local: LocalBlob) -> str:
    return paths.blob("ada", local.blob.sha256)


@pytest.mark.parametrize("local", [SMALL, LARGE])
def test_it_is_sent_once(bucket: MemoryBucket, local: LocalBlob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert upload_blob(bucket, "ada", local) == local.blob.size  # type: ignore[arg-type]
    asked = len(bucket.asked)
    assert upload_blob(bucket, "ada", local) == 0  # type: ignore[arg-type]
    assert len(bucket.asked) == asked  # confirmed a moment ago
    monkeypatch.setattr(blobs, "_confirmed", {})  # another process
    assert upload_blob(bucket, "ada", local) == 0  # type: ignore[arg-type]
    assert bucket.sent == [name(local)] and len(bucket.asked) == asked + 1


def test_owners_buckets_and_endpoints_are_apart(bucket: MemoryBucket) -> None:
    other, elsewhere = MemoryBucket(), MemoryBucket()
    other.bucket = "other"
    for store, owner, endpoint in (
        (bucket, "ada", ""),
        (bucket, "bob", ""),
        (other, "ada", ""),
        (elsewhere, "ada", "http://x"),
    ):
        assert upload_blob(store, owner, SMALL, endpoint=endpoint) == 5  # type: ignore[arg-type]


@pytest.mark.parametrize("local", [SMALL, LARGE])
@pytest.mark.parametrize("there", [b"", b"smalk", b"y" * 100_000])
def test_something_else_under_that_name_is_reported(bucket: MemoryBucket, local: LocalBlob, there: bytes) -> None:
    bucket.objects[name(local)] = there
    for _ in range(2):
        with pytest.raises(PackagingError, match=f"gs://jobs/{name(local)} is not what its name says.*tampered"):
            upload_blob(bucket, "ada", local)  # type: ignore[arg-type]
    assert bucket.objects[name(local)] == there


def test_of_many_submissions_at_once_one_sends(bucket: MemoryBucket) -> None:
    gate = threading.Barrier(8)
    sent = []

    def submit() -> None:
        gate.wait()
        sent.append(upload_blob(bucket, "ada", LARGE))  # type: ignore[arg-type]

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == [0] * 7 + [100_000]


def test_a_failed_upload_is_not_remembered(bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bool:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBucket, "upload", fail)
        with pytest.raises(ConnectionError):
            upload_blob(bucket, "ada", SMALL)  # type: ignore[arg-type]
    assert upload_blob(bucket, "ada", SMALL) == 5  # type: ignore[arg-type]
