"""The store on disk and the pure parts: generations, what a kill leaves, listing, multipart, partial answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.sim.gcs.errors import GcsError
from launcher.sim.gcs.fields import select
from launcher.sim.gcs.listing import ListQuery, list_page
from launcher.sim.gcs.model import Preconditions, StoredObject, check_bucket_name
from launcher.sim.gcs.multipart import MultipartReader
from launcher.sim.gcs.store import Store

BUCKET = "a-bucket"
ALPHABET = "ab/é\U0001f600"
names = st.text(ALPHABET, min_size=1, max_size=5)


def put(store: Store, name: str, data: bytes = b"data", **fields: str) -> StoredObject:
    writer = store.writer()
    writer.write(data)
    return store.commit(BUCKET, name, writer.finish(), fields)


def test_generations_grow_when_the_clock_does_not(tmp_path: Path) -> None:
    times = iter([50, 50, 40, 40, 30, 30, 30, 30, 20, 20])
    store = Store(tmp_path, clock_us=lambda: next(times))
    store.create_bucket(BUCKET, project="p")
    first, second = put(store, "x").generation, put(store, "x").generation
    restarted = Store(tmp_path, clock_us=lambda: 1)
    assert first < second < put(restarted, "x").generation


def test_times_are_of_the_clock(tmp_path: Path) -> None:
    store = Store(tmp_path, clock_us=lambda: 1_700_000_000_123_456)
    store.create_bucket(BUCKET, project="p")
    stored = put(store, "x")
    assert stored.generation == 1_700_000_000_123_456
    assert stored.created == stored.updated == "2023-11-14T22:13:20.123Z"


def test_killed_between_moving_the_bytes_and_the_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create_bucket(BUCKET, project="p")
    kept = put(store, "x")
    folder = tmp_path / "buckets" / BUCKET
    (folder / "content" / "99").write_bytes(b"no record names this")
    (folder / "objects" / "half.tmp").write_bytes(b"{")
    unfinished = store.writer()
    unfinished.write(b"half")
    unfinished.close()
    again = Store(tmp_path)
    assert again.get(BUCKET, "x") == kept
    assert [path.name for path in (folder / "content").iterdir()] == [str(kept.generation)]
    assert list((tmp_path / "staging").iterdir()) == []


def test_replaced_and_deleted_objects_leave_no_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create_bucket(BUCKET, project="p")
    put(store, "x")
    last = put(store, "x")
    content = tmp_path / "buckets" / BUCKET / "content"
    assert [path.name for path in content.iterdir()] == [str(last.generation)]
    store.delete(BUCKET, "x", preconditions=Preconditions(generation_match=last.generation))
    assert list(content.iterdir()) == []
    store.delete_bucket(BUCKET)
    assert list((tmp_path / "buckets").iterdir()) == []


@pytest.mark.parametrize("name", ["", "ab", "Upper", "a/b", "..", "a..b", "-a-", "a" * 64, "googly-bucket"])
def test_illegal_bucket_names(name: str) -> None:
    with pytest.raises(GcsError) as caught:
        check_bucket_name(name)
    assert caught.value.code == 400


@given(
    found=st.sets(names, max_size=12),
    prefix=st.text(ALPHABET, max_size=2),
    delimiter=st.sampled_from(["", "/", "ab"]),
    start=st.text(ALPHABET, max_size=2),
    end=st.none() | names,
    limit=st.integers(1, 4),
)
def test_pages_together_are_the_listing(
    found: set[str], prefix: str, delimiter: str, start: str, end: str | None, limit: int
) -> None:
    matching = [name for name in found if name.startswith(prefix) and name >= start and (end is None or name < end)]
    cut = {name: name.find(delimiter, len(prefix)) if delimiter else -1 for name in matching}
    prefixes = {name[: at + len(delimiter)] for name, at in cut.items() if at >= 0}
    plain = [name for name, at in cut.items() if at < 0]

    pages = [list_page(sorted(found), ListQuery(prefix, delimiter, start, end, None, limit))]
    while (token := pages[-1].next_token) and len(pages) <= len(found):
        pages.append(list_page(sorted(found), ListQuery(prefix, delimiter, start, end, token, limit)))
    assert [name for page in pages for name in page.names] == sorted(plain, key=str.encode)
    assert [name for page in pages for name in page.prefixes] == sorted(prefixes, key=str.encode)
    assert all(len(page.names) + len(page.prefixes) == limit for page in pages[:-1])


def test_trailing_delimiter_can_be_listed_as_an_object_too() -> None:
    query = ListQuery(delimiter="/", include_trailing_delimiter=True)
    page = list_page(["a/", "a/b", "c"], query)
    assert (page.names, page.prefixes) == (["a/", "c"], ["a/"])


@given(
    data=st.lists(st.sampled_from([b"\r\n--", b"=b=", b"\r", b"\n", b"-", b"x"])).map(b"".join), step=st.integers(1, 9)
)
def test_multipart_reader_takes_any_chunks(data: bytes, step: int) -> None:
    assume(b"\r\n--=b=" not in data)
    body = b"--=b=\r\nA: b\r\n\r\n{}\r\n--=b=\r\n\r\n" + data + b"\r\n--=b=--\r\n"

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), step):
            yield body[at : at + step]

    async def read() -> tuple[str, bytes, bytes]:
        reader = MultipartReader(chunks(), b"=b=")
        headers = await reader.next_part()
        document = await reader.read(10)
        await reader.next_part()
        media = b"".join([block async for block in reader.stream()])
        await reader.end()
        return headers["A"], document, media

    assert asyncio.run(read()) == ("b", b"{}", data)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ("kind", {"kind": "k"}),
        ("items(name),kind", {"kind": "k", "items": [{"name": "n"}]}),
        ("items/size", {"items": [{"size": "1"}]}),
        ("items(name, meta/a)", {"items": [{"name": "n", "meta": {"a": "1"}}]}),
        ("items/meta(a,b)", {"items": [{"meta": {"a": "1", "b": "2"}}]}),
        ("*", {"kind": "k", "items": [{"name": "n", "size": "1", "meta": {"a": "1", "b": "2"}}]}),
        ("*/name", {"kind": "k", "items": [{"name": "n"}]}),
        ("none", {}),
    ],
)
def test_partial_response(fields: str, expected: object) -> None:
    document = {"kind": "k", "items": [{"name": "n", "size": "1", "meta": {"a": "1", "b": "2"}}]}
    assert select(document, fields) == expected


@pytest.mark.parametrize("fields", ["a(", "a)", ",", "a,", "a//b", "()", "a(b", "a b!", "a(b)c"])
def test_bad_partial_response(fields: str) -> None:
    with pytest.raises(GcsError) as caught:
        select({}, fields)
    assert (caught.value.code, caught.value.reason) == (400, "invalidParameter")
