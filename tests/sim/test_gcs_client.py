"""google-cloud-storage, which nobody here wrote, against the simulated Cloud Storage."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from tests.sim.gcs_fixtures import BUCKET, GcsServer, WebServer, serve

PROMPT_RETRY = DEFAULT_RETRY.with_delay(initial=0.001, maximum=0.01)
NAMES = [
    "plain",
    "a/b/c",
    "blank and +plus",
    "ümläut/日本",
    "#hash?query=1&x",
    "100%",
    "~tilde",
    "a//b/",
    "%2F",
]


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with WebServer.run() as server:
        yield server


@pytest.fixture
def gcs(web: WebServer, tmp_path: Path) -> Iterator[GcsServer]:
    with serve(web, tmp_path / "gcs") as server:
        yield server


@pytest.mark.parametrize("name", NAMES)
def test_object_round_trip_under_any_name(gcs: GcsServer, name: str) -> None:
    blob = gcs.bucket().blob(name)
    blob.upload_from_string(b"content", content_type="text/x-test", if_generation_match=0)
    assert [found.name for found in gcs.client().list_blobs(BUCKET)] == [name]
    again = gcs.bucket().get_blob(name)
    assert again.download_as_bytes() == gcs.bucket().blob(name).download_as_bytes() == b"content"
    assert again.content_type == "text/x-test" and again.size == 7
    assert again.md5_hash == base64.b64encode(hashlib.md5(b"content").digest()).decode()
    again.delete(if_generation_match=again.generation)
    assert not gcs.bucket().blob(name).exists()


@pytest.mark.parametrize("checksum", ["md5", "crc32c"])
@pytest.mark.parametrize("size", [0, 1, 9 << 20])
def test_resumable_upload_from_a_file(gcs: GcsServer, tmp_path: Path, size: int, checksum: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    blob = gcs.bucket().blob("big", chunk_size=1 << 20)
    blob.upload_from_filename(str(source), if_generation_match=0, checksum=checksum)
    target = tmp_path / "target"
    gcs.bucket().blob("big").download_to_filename(str(target), checksum=checksum)
    assert target.read_bytes() == source.read_bytes()
    assert blob.size == size
    with pytest.raises(PreconditionFailed):
        blob.upload_from_filename(str(source), if_generation_match=0, checksum=checksum)


class Unseekable(io.RawIOBase):
    """A pipe's end: the client cannot know the size beforehand."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)

    def tell(self) -> int:
        return self._data.tell()


@pytest.mark.parametrize("size", [256 << 10, (512 << 10) + 5])
def test_resumable_upload_of_unknown_size(gcs: GcsServer, size: int) -> None:
    data = os.urandom(size)
    blob = gcs.bucket().blob("stream", chunk_size=256 << 10)
    blob.upload_from_file(Unseekable(data), if_generation_match=0)
    assert blob.download_as_bytes() == data


def test_write_and_read_as_files(gcs: GcsServer) -> None:
    with gcs.bucket().blob("lines").open("w", chunk_size=256 << 10, if_generation_match=0) as file:
        for number in range(60_000):
            file.write(f"{number}\n")
    with gcs.bucket().blob("lines").open("r", chunk_size=100_000) as file:
        assert [int(line) for line in file] == list(range(60_000))


def test_download_ranges(gcs: GcsServer) -> None:
    blob = gcs.bucket().blob("range")
    blob.upload_from_string(b"0123456789", if_generation_match=0)
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=8, end=100) == b"89"


def test_download_checks_the_hash_it_was_told(gcs: GcsServer) -> None:
    blob = gcs.bucket().blob("rotten")
    blob.upload_from_string(b"good", if_generation_match=0)
    (content,) = gcs.store.folder.glob(f"buckets/{BUCKET}/content/*")
    content.write_bytes(b"evil")
    with pytest.raises(DataCorruption):
        blob.download_as_bytes()


@pytest.mark.parametrize(
    "glob, delimiter, found",
    [
        ("*.json", "", ["top.json"]),
        ("**.json", "", ["a/1.json", "a/b/2.json", "top.json"]),
        ("**/*.json", "", ["a/1.json", "a/b/2.json", "top.json"]),
        ("a/**/2.json", "", ["a/b/2.json"]),
        ("a/**/1.json", "", ["a/1.json"]),
        ("a/*", "", ["a/1.json", "a/x.txt"]),
        ("a/?.json", "", ["a/1.json"]),
        ("a?1.json", "", []),
        ("a[!b]1.json", "", []),
        ("a/[0-9x].{json,txt}", "", ["a/1.json", "a/x.txt"]),
        ("a/[!0-9].*", "", ["a/x.txt"]),
        ("*", "/", ["top.json"]),
        ("**", "/", ["top.json", "a/"]),
        ("a\\/1.json", "", ["a/1.json"]),
        ("top,json", "", []),
    ],
)
def test_list_by_glob(gcs: GcsServer, glob: str, delimiter: str, found: list[str]) -> None:
    for name in ("a/1.json", "a/b/2.json", "a/x.txt", "top.json"):
        gcs.bucket().blob(name).upload_from_string(b"")
    listed = gcs.bucket().list_blobs(match_glob=glob, delimiter=delimiter or None, page_size=1)
    assert [blob.name for blob in listed] + sorted(listed.prefixes) == found


@pytest.mark.parametrize("glob, delimiter", [("{a", ""), ("a}", ""), ("[z-a]", ""), ("*", "-")])
def test_a_glob_that_google_refuses(gcs: GcsServer, glob: str, delimiter: str) -> None:
    with pytest.raises(BadRequest):
        list(gcs.bucket().list_blobs(match_glob=glob, delimiter=delimiter or None))


def test_list_with_prefix_delimiter_offsets_and_pages(gcs: GcsServer) -> None:
    bucket = gcs.bucket()
    for name in ("a", "b/1", "b/2", "b/c/3", "b0", "d/4"):
        bucket.blob(name).upload_from_string(b"", if_generation_match=0)
    client = gcs.client()
    assert [blob.name for blob in client.list_blobs(BUCKET, page_size=1)] == [
        "a",
        "b/1",
        "b/2",
        "b/c/3",
        "b0",
        "d/4",
    ]
    assert [blob.name for blob in client.list_blobs(BUCKET, max_results=2)] == ["a", "b/1"]
    for page_size in (1, 2, 10):
        listing = client.list_blobs(BUCKET, prefix="b/", delimiter="/", page_size=page_size)
        assert [blob.name for blob in listing] == ["b/1", "b/2"] and listing.prefixes == {"b/c/"}
        listing = client.list_blobs(BUCKET, delimiter="/", page_size=page_size)
        assert [blob.name for blob in listing] == ["a", "b0"] and listing.prefixes == {"b/", "d/"}
    listing = client.list_blobs(BUCKET, start_offset="b/2", end_offset="d/4")
    assert [blob.name for blob in listing] == ["b/2", "b/c/3", "b0"]
    listing = client.list_blobs(BUCKET, fields="items(name),nextPageToken", page_size=2)
    assert [(blob.name, blob.size) for blob in listing][:2] == [("a", None), ("b/1", None)]


def test_exactly_one_of_racing_writers_wins(gcs: GcsServer) -> None:
    buckets = [gcs.bucket() for _ in range(6)]
    generation = 0

    def write(number: int) -> int | None:
        blob = buckets[number].blob("lease")
        try:
            blob.upload_from_string(str(number), if_generation_match=generation)
        except PreconditionFailed:
            return None
        return int(blob.generation)

    with ThreadPoolExecutor(len(buckets)) as pool:
        for _ in range(5):
            outcomes = list(pool.map(write, range(len(buckets))))
            (winner,) = [number for number, outcome in enumerate(outcomes) if outcome is not None]
            live = buckets[0].get_blob("lease")
            assert live.download_as_bytes() == str(winner).encode()
            assert live.generation == outcomes[winner] > generation
            generation = live.generation


def test_preconditions_of_every_verb(gcs: GcsServer) -> None:
    blob = gcs.bucket().blob("guarded")
    blob.upload_from_string(b"1", if_generation_match=0)
    old = blob.generation
    blob.upload_from_string(b"2", if_generation_match=old)
    for attempt in (
        lambda: blob.upload_from_string(b"3", if_generation_match=old),
        lambda: blob.upload_from_string(b"3", if_metageneration_match=7),
        lambda: blob.upload_from_string(b"3", if_generation_not_match=blob.generation),
        lambda: blob.delete(if_generation_match=old),
        lambda: blob.patch(if_metageneration_match=7),
        lambda: blob.reload(if_generation_match=old),
        lambda: gcs.bucket().blob("guarded").download_as_bytes(if_generation_match=old),
        lambda: gcs.bucket().blob("missing").upload_from_string(b"", if_generation_match=old),
    ):
        with pytest.raises(PreconditionFailed):
            attempt()
    assert gcs.bucket().blob("guarded").download_as_bytes() == b"2"
    blob.delete(if_generation_match=blob.generation)
    with pytest.raises(NotFound):
        blob.delete(if_generation_match=blob.generation)


def test_metadata_patch(gcs: GcsServer) -> None:
    blob = gcs.bucket().blob("meta")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"x", if_generation_match=0)
    created, generation = blob.time_created, blob.generation
    blob.metadata = {"a": None, "c": "3"}
    blob.cache_control = "no-store"
    blob.patch(if_metageneration_match=1)
    again = gcs.bucket().get_blob("meta")
    assert again.metadata == {"b": "2", "c": "3"} and again.cache_control == "no-store"
    assert (again.metageneration, again.generation, again.time_created) == (2, generation, created)
    assert again.updated >= created and again.etag != ""
    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=1)


def test_copy_and_rewrite(gcs: GcsServer) -> None:
    client = gcs.client()
    client.create_bucket("other-bucket")
    source = gcs.bucket().blob("source/ü")
    source.upload_from_string(b"data", content_type="text/plain", if_generation_match=0)
    other = client.bucket("other-bucket")
    copied = gcs.bucket().copy_blob(source, other, "copy", if_generation_match=0)
    assert other.blob("copy").download_as_bytes() == b"data" and copied.md5_hash == source.md5_hash
    target = other.blob("rewritten")
    assert target.rewrite(source, if_generation_match=0, if_source_generation_match=source.generation) == (
        None,
        4,
        4,
    )
    assert other.get_blob("rewritten").content_type == "text/plain"
    with pytest.raises(PreconditionFailed):
        target.rewrite(source, if_generation_match=0)
    source.delete(if_generation_match=source.generation)
    assert other.blob("copy").download_as_bytes() == b"data"


def test_missing_things_are_not_found(gcs: GcsServer) -> None:
    client = gcs.client()
    with pytest.raises(NotFound, match="No such object: simulated-jobs/nothing"):
        client.bucket(BUCKET).blob("nothing").download_as_bytes()
    with pytest.raises(NotFound, match="bucket does not exist"):
        client.get_bucket("no-such-bucket")
    with pytest.raises(NotFound):
        client.bucket("no-such-bucket").blob("x").upload_from_string(b"x" * 100_000, if_generation_match=0)
    with pytest.raises(NotFound):
        list(client.list_blobs("no-such-bucket"))
    assert client.bucket(BUCKET).get_blob("nothing") is None


def test_forbidden_bucket(gcs: GcsServer) -> None:
    gcs.store.forbid("somebodys-bucket")
    with pytest.raises(Forbidden):
        gcs.client().get_bucket("somebodys-bucket")
    with pytest.raises(Forbidden):
        gcs.client().bucket("somebodys-bucket").blob("x").upload_from_string(b"", if_generation_match=0)


def test_buckets(gcs: GcsServer) -> None:
    client = gcs.client()
    bucket = client.create_bucket("second-bucket", location="us-central1")
    assert bucket.location == "US-CENTRAL1"
    with pytest.raises(Conflict):
        client.create_bucket("second-bucket")
    bucket.labels = {"launcher-platform": "sim"}
    bucket.patch()
    assert client.get_bucket("second-bucket").labels == {"launcher-platform": "sim"}
    assert [found.name for found in client.list_buckets(page_size=1)] == ["second-bucket", BUCKET]
    assert list(client.list_buckets(project="another-project")) == []
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    bucket.blob("x").upload_from_string(b"", if_generation_match=0)
    with pytest.raises(Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert not bucket.exists()


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_one_503_is_retried_by_the_client(gcs: GcsServer, size: int) -> None:
    bucket = gcs.bucket()
    data = os.urandom(size)
    gcs.failures = 1
    blob = bucket.blob("retried", chunk_size=1 << 20)
    blob.upload_from_file(io.BytesIO(data), size=size, if_generation_match=0, retry=PROMPT_RETRY)
    gcs.failures = 1
    assert blob.download_as_bytes(retry=PROMPT_RETRY) == data
    gcs.failures = 1
    assert blob.exists(retry=PROMPT_RETRY)
    assert gcs.failures == 0


def test_503_within_a_resumable_upload(gcs: GcsServer) -> None:
    data = os.urandom(1 << 20)
    blob = gcs.bucket().blob("bumpy", chunk_size=256 << 10)

    class Bumpy(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            gcs.failures = 1
            return super().read(size)

    blob.upload_from_file(Bumpy(data), size=len(data), if_generation_match=0, retry=PROMPT_RETRY)
    assert blob.download_as_bytes() == data


def test_gzip_object_is_decompressed_by_the_client_or_kept_raw(gcs: GcsServer) -> None:
    packed = gzip.compress(b"text " * 1000)
    blob = gcs.bucket().blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, if_generation_match=0)
    assert blob.download_as_bytes() == b"text " * 1000
    assert blob.download_as_bytes(raw_download=True) == packed


def test_objects_survive_a_restart(web: WebServer, tmp_path: Path) -> None:
    with serve(web, tmp_path) as first:
        blob = first.bucket().blob("kept/ü")
        blob.upload_from_string(b"kept", if_generation_match=0)
    with serve(web, tmp_path) as second:
        again = second.bucket().get_blob("kept/ü")
        assert (again.generation, again.etag, again.download_as_bytes()) == (
            blob.generation,
            blob.etag,
            b"kept",
        )
        again.upload_from_string(b"newer", if_generation_match=blob.generation)
        assert again.generation > blob.generation
