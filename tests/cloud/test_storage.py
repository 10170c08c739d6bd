from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import os
import uuid

import pytest

from launcher.cloud import gcs_transfer, storage
from launcher.cloud.storage import GcsBucket, crc32c_of
from launcher.config import Profile
from launcher.errors import ApiDisabled, CloudError, InvalidRequest, NotFound, PermissionDenied, Unavailable
from launcher.records.swap import create_once, swap, token
from tests.cloud.relay import FakeClock, Fault, Relay, google_error

KIB = 1024


@pytest.fixture
def bucket(profile: Profile, relay: Relay, clock: FakeClock) -> GcsBucket:
    return GcsBucket(profile.bucket, relay.url, credentials="anonymous", clock=clock)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_transfer, "CHUNK", 256 * KIB)
    monkeypatch.setattr(storage, "_ONE_REQUEST", 64 * KIB)


@pytest.fixture
def name() -> str:
    return f"owners/me/{uuid.uuid4().hex}"


def put(bucket: GcsBucket, name: str, data: bytes) -> bool:
    return bucket.upload(name, io.BytesIO(data), len(data), crc32c_of(data))


def record() -> bytes:
    return json.dumps({"token": uuid.uuid4().hex}).encode()


class TestRecords:
    def test_created_once_and_replaced_by_generation(self, bucket: GcsBucket, name: str) -> None:
        first = bucket.create(name, b"one")
        assert first is not None
        assert bucket.create(name, b"two") is None
        second = bucket.replace(name, b"three", first)
        assert second is not None and second > first
        assert bucket.replace(name, b"four", first) is None
        stored = bucket.read(name)
        assert stored is not None
        assert (stored.data, stored.generation) == (b"three", second)

    def test_the_time_is_the_one_that_objects_are_dated_with(self, bucket: GcsBucket, name: str) -> None:
        before = bucket.time()
        bucket.create(name, b"")
        info = bucket.stat(name)
        assert info is not None
        assert before <= info.updated < bucket.time() + 1  # a Date has whole seconds

    def test_the_time_of_a_bucket_that_is_not_there(self, profile: Profile, relay: Relay, clock: FakeClock) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            GcsBucket("nowhere", relay.url, credentials="anonymous", clock=clock).time()

    def test_absent_is_none(self, bucket: GcsBucket, name: str) -> None:
        assert bucket.read(name) is None
        assert bucket.stat(name) is None
        assert bucket.download(name, io.BytesIO()) is None
        assert bucket.replace(name, b"x", 12345) is None

    @pytest.mark.parametrize("odd", ["a b/ü?#%2F+&=.json", "owners/x/..x/[1]*", "'quote\"/n"])
    def test_any_name_comes_back_as_it_was(self, bucket: GcsBucket, name: str, odd: str) -> None:
        assert bucket.create(f"{name}/{odd}", b"data")
        stored = bucket.read(f"{name}/{odd}")
        assert stored is not None and stored.data == b"data"
        assert [info.name for info in bucket.list(f"{name}/")] == [f"{name}/{odd}"]
        target = io.BytesIO()
        assert bucket.download(f"{name}/{odd}", target) == 4

    def test_an_empty_object(self, bucket: GcsBucket, name: str) -> None:
        assert put(bucket, name, b"")
        stored = bucket.read(name)
        assert stored is not None and stored.data == b""
        assert bucket.download(name, io.BytesIO()) == 0

    def test_times_are_the_stores_own_of_the_same_answer(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        bucket.create(name, b"x")
        headers: dict[str, str | None] = {
            "Date": "Mon, 02 Feb 2026 00:01:00 GMT",
            "Last-Modified": "Mon, 02 Feb 2026 00:00:00 GMT",
        }
        relay.faults.append(Fault("GET /download", headers=headers))
        stored = bucket.read(name)
        assert stored is not None
        assert (stored.updated, stored.now) == (1769990400.0, 1769990460.0)

    def test_without_last_modified_the_metadata_tells(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        bucket.create(name, b"x")
        relay.faults.append(Fault("GET /download", headers={"Last-Modified": None}))
        stored, info = bucket.read(name), bucket.stat(name)
        assert stored is not None and info is not None
        assert stored.updated == info.updated

    def test_written_while_it_is_read(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        bucket.create(name, b"x")
        relay.faults.append(Fault("GET /download", headers={"Last-Modified": None}))
        relay.faults.append(Fault("ifGenerationMatch", status=412, body=google_error(412, "conditionNotMet")))
        stored = bucket.read(name)
        assert stored is not None and stored.data == b"x"
        assert len([line for line in relay.seen if line.startswith("GET /download")]) == 2

    def test_stat_has_size_and_sum(self, bucket: GcsBucket, name: str) -> None:
        generation = bucket.create(name, b"hello")
        info = bucket.stat(name)
        assert info is not None
        assert (info.size, info.crc32c, info.generation) == (5, crc32c_of(b"hello"), generation)

    def test_nothing_is_asked_but_what_is_needed(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        bucket.create(name, b"x")
        bucket.stat(name)
        assert list(bucket.list(name))
        assert [line.split()[0] for line in relay.seen] == ["POST", "GET", "GET"]
        assert not any(line.partition("?")[0].endswith(f"/b/{bucket.bucket}") for line in relay.seen)

    def test_several_threads_at_once(self, bucket: GcsBucket, name: str) -> None:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            written = list(pool.map(lambda k: bucket.create(f"{name}/{k}", str(k).encode()), range(24)))
            read = list(pool.map(lambda k: bucket.read(f"{name}/{k}"), range(24)))
        assert all(written)
        assert [stored.data if stored else None for stored in read] == [str(k).encode() for k in range(24)]

    def test_one_winner_among_many(self, bucket: GcsBucket, name: str) -> None:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            stands = list(pool.map(lambda _: create_once(bucket, name, record()), range(8)))
        assert len({token(each) for each in stands}) == 1


class TestListing:
    def test_pages_in_order_after_a_name(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        for k in (3, 1, 2, 5, 4):
            bucket.create(f"{name}/{k}", b"x")
        relay.extra_query = "maxResults=2"
        assert [info.name[-1] for info in bucket.list(f"{name}/")] == ["1", "2", "3", "4", "5"]
        relay.seen.clear()
        assert [info.name[-1] for info in bucket.list(f"{name}/", start_after=f"{name}/2")] == ["3", "4", "5"]
        assert len(relay.seen) == 2

    def test_common_prefixes(self, bucket: GcsBucket, name: str) -> None:
        for each in ("a/1", "a/2", "b", "c/1"):
            bucket.create(f"{name}/{each}", b"x")
        found = [
            (info.name.removeprefix(name), bool(info.generation)) for info in bucket.list(f"{name}/", delimiter="/")
        ]
        assert found == [("/a/", False), ("/b", True), ("/c/", False)]

    def test_a_page_that_fails_is_asked_for_again(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        for k in range(4):
            bucket.create(f"{name}/{k}", b"x")
        relay.extra_query = "maxResults=2"
        relay.faults.append(Fault("pageToken", status=503))
        assert len(list(bucket.list(f"{name}/"))) == 4


class TestTransfers:
    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("size", [64 * KIB, 64 * KIB + 1, 512 * KIB, 1_000_001])
    def test_round_trip(self, bucket: GcsBucket, name: str, size: int) -> None:
        data = os.urandom(size)
        assert put(bucket, name, data)
        target = io.BytesIO()
        assert bucket.download(name, target) == size
        assert target.getvalue() == data
        assert not put(bucket, name, data)

    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("POST /upload", lose_request=True),
            Fault("POST /upload", lose_answer=True),
            Fault("PUT /", lose_request=True),
            Fault("PUT /", lose_answer=True),
            Fault("PUT /", status=503, times=3),
            Fault("PUT /", status=410),
            Fault("PUT /", status=429, body=google_error(429, "slow down")),
        ],
        ids=str,
    )
    def test_an_upload_survives(self, bucket: GcsBucket, relay: Relay, name: str, fault: Fault) -> None:
        data = os.urandom(700_000)
        relay.faults.append(fault)
        source = io.BytesIO(b"before" + data)
        source.seek(len(b"before"))
        assert bucket.upload(name, source, len(data), crc32c_of(data))
        info = bucket.stat(name)
        assert info is not None and (info.size, info.crc32c) == (len(data), crc32c_of(data))

    @pytest.mark.usefixtures("small_chunks")
    def test_after_a_lost_answer_the_server_is_asked_what_it_has(
        self, bucket: GcsBucket, relay: Relay, name: str
    ) -> None:
        size = 300 * KIB
        data = os.urandom(size)
        relay.faults += [Fault("PUT /", headers={"X-Note": "first chunk"}), Fault("PUT /", lose_answer=True)]
        assert put(bucket, name, data)
        first, last = f"bytes 0-{256 * KIB - 1}/{size}", f"bytes {256 * KIB}-{size - 1}/{size}"
        assert relay.ranges == [first, last, f"bytes */{size}"]
        info = bucket.stat(name)
        assert info is not None and info.crc32c == crc32c_of(data)

    @pytest.mark.usefixtures("small_chunks")
    def test_chunks_that_are_never_kept_end_the_upload(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        relay.faults.append(Fault("PUT /", status=308, times=100))
        with pytest.raises(Unavailable, match=name):
            put(bucket, name, bytes(700_000))

    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("size", [1000, 700_000])
    def test_other_bytes_than_promised_are_not_stored(self, bucket: GcsBucket, name: str, size: int) -> None:
        with pytest.raises(CloudError):
            bucket.upload(name, io.BytesIO(bytes(size)), size, crc32c_of(b"something else"))
        assert bucket.stat(name) is None

    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("size", [1000, 700_000])
    def test_a_source_that_ends_early(self, bucket: GcsBucket, name: str, size: int) -> None:
        with pytest.raises(CloudError, match="shorter"):
            bucket.upload(name, io.BytesIO(bytes(size - 1)), size, crc32c_of(bytes(size)))
        assert bucket.stat(name) is None

    def test_a_download_goes_on_where_it_broke_off(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        data = os.urandom(3 << 20)
        put(bucket, name, data)
        relay.faults += [
            Fault("GET /download", cut=1_500_000),
            Fault("GET /download", lose_answer=True),
            Fault("GET /download", cut=10),
            Fault("GET /download", status=503),
        ]
        target = io.BytesIO()
        assert bucket.download(name, target) == len(data)
        assert target.getvalue() == data

    def test_from_an_offset(self, bucket: GcsBucket, name: str) -> None:
        bucket.create(name, b"0123456789")
        target = io.BytesIO()
        assert bucket.download(name, target, start=7) == 3
        assert target.getvalue() == b"789"
        assert bucket.download(name, target, start=10) == 0

    def test_a_wrong_sum_is_noticed(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        bucket.create(name, b"0123456789")
        wrong = base64.b64encode(b"abcd").decode()
        relay.faults.append(Fault("GET /download", headers={"X-Goog-Hash": f"crc32c={wrong},md5=zzzz"}))
        with pytest.raises(CloudError, match="other bytes"):
            bucket.download(name, io.BytesIO())

    def test_two_generations_are_never_mixed(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        data = os.urandom(2 << 20)
        generation = bucket.create(name, data)
        assert generation is not None
        relay.faults.append(Fault("GET /download", cut=1_200_000))
        broken = _CallsOnce(lambda: bucket.replace(name, os.urandom(2 << 20), generation))
        with pytest.raises(NotFound, match=name):
            bucket.download(name, broken)


class _CallsOnce(io.BytesIO):
    """A target that runs something at its first byte."""

    def __init__(self, action: object) -> None:
        super().__init__()
        self._action = action

    def write(self, data: object) -> int:
        action, self._action = self._action, None
        if callable(action):
            action()
        return super().write(data)  # type: ignore[arg-type]


class TestTroubles:
    @pytest.mark.parametrize("how", ["lose_request", "lose_answer"])
    def test_a_lost_connection_is_not_a_lost_write(self, bucket: GcsBucket, relay: Relay, name: str, how: str) -> None:
        data = record()
        relay.faults.append(Fault("POST /upload", **{how: True}))  # type: ignore[arg-type]
        generation = swap(bucket, name, data, 0)
        assert generation is not None
        changed = record()
        relay.faults.append(Fault("POST /upload", **{how: True}))  # type: ignore[arg-type]
        assert swap(bucket, name, changed, generation) is not None
        stored = bucket.read(name)
        assert stored is not None and stored.data == changed

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_it_is_tried_again(self, bucket: GcsBucket, relay: Relay, clock: FakeClock, name: str, status: int) -> None:
        bucket.create(name, b"x")
        relay.faults.append(Fault("GET /download", status=status, times=4))
        assert bucket.read(name) is not None
        assert len(clock.waits) == 4 and clock.waits[3] > clock.waits[0]

    def test_until_the_deadline(self, relay: Relay, profile: Profile, clock: FakeClock, name: str) -> None:
        bucket = GcsBucket(profile.bucket, relay.url, credentials="anonymous", clock=clock, timeout_s=30)
        relay.faults.append(Fault("GET", status=503, body=google_error(503, "Backend error"), times=1000))
        with pytest.raises(Unavailable, match=rf"gs://{profile.bucket}/{name}: .*Backend error"):
            bucket.read(name)
        assert sum(clock.waits) == pytest.approx(30)

    def test_a_proxy_is_for_the_world_outside(
        self, bucket: GcsBucket, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert put(bucket, name, b"x")
        assert bucket.download(name, io.BytesIO()) == 1

    def test_nobody_listens(self, clock: FakeClock) -> None:
        with pytest.raises(Unavailable, match="gs://jobs/x"):
            GcsBucket("jobs", "http://127.0.0.1:1", credentials="anonymous", clock=clock).read("x")

    def test_no_such_bucket_is_never_taken_for_no_such_object(self, profile: Profile, clock: FakeClock) -> None:
        nowhere = GcsBucket("no-such-bucket", profile.storage_endpoint, credentials="anonymous", clock=clock)
        calls = [
            lambda: nowhere.read("x"),
            lambda: nowhere.create("x", b""),
            lambda: nowhere.replace("x", b"", 1),
            lambda: nowhere.stat("x"),
            lambda: list(nowhere.list("x")),
            lambda: put(nowhere, "x", b""),
            lambda: nowhere.download("x", io.BytesIO()),
        ]
        for call in calls:
            with pytest.raises(NotFound, match="gcloud storage buckets describe gs://no-such-bucket"):
                call()

    def test_an_unclear_404_is_looked_into(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        relay.faults.append(Fault("GET /download", status=404, body=b"Not Found"))
        assert bucket.read(name) is None
        relay.faults.append(Fault("GET /", status=404, body=b"Not Found", times=2))
        with pytest.raises(NotFound):
            bucket.read(name)

    def test_forbidden_names_who_what_and_the_command(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        said = "eva@example.com does not have storage.objects.create access to the Google Cloud Storage object."
        relay.faults.append(Fault("POST /upload", status=403, body=google_error(403, said)))
        with pytest.raises(PermissionDenied) as caught:
            bucket.create(name, b"x")
        text = str(caught.value)
        assert "user:eva@example.com lacks storage.objects.create on bucket simulated-jobs" in text
        assert "gcloud storage buckets add-iam-policy-binding gs://simulated-jobs" in text
        assert "--member=user:eva@example.com" in text

    def test_credentials_are_wanted(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        relay.faults.append(Fault("GET", status=401, body=google_error(401, "Anonymous caller"), times=9))
        with pytest.raises(PermissionDenied, match="credentials"):
            bucket.read(name)

    def test_a_disabled_api(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        body = google_error(403, "Cloud Storage API has not been used in project 12", reason="SERVICE_DISABLED")
        relay.faults.append(Fault("GET", status=403, body=body))
        with pytest.raises(ApiDisabled, match=r"gcloud services enable storage\.googleapis\.com"):
            bucket.read(name)

    def test_a_wrong_request(self, bucket: GcsBucket, relay: Relay, name: str) -> None:
        relay.faults.append(Fault("GET", status=400, body=google_error(400, "Invalid argument")))
        with pytest.raises(InvalidRequest, match="Invalid argument"):
            bucket.read(name)
