"""Corners of the Cloud Storage protocol that Google's own client does not reach."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.gcs_fixtures import BUCKET, Answer, GcsServer, WebServer, serve

OBJECTS = f"/storage/v1/b/{BUCKET}/o"
UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o"
QUANTUM = 256 << 10


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with WebServer.run() as server:
        yield server


@pytest.fixture
def gcs(web: WebServer, tmp_path: Path) -> Iterator[GcsServer]:
    with serve(web, tmp_path / "gcs") as server:
        yield server


def put(gcs: GcsServer, name: str, data: bytes, query: str = "", **headers: str) -> Answer:
    """A media upload."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return gcs.send("POST", f"{UPLOAD}?uploadType=media&name={name}{query}", data, named)


def content(gcs: GcsServer, name: str = "x") -> bytes | None:
    answer = gcs.send("GET", f"{OBJECTS}/{name}?alt=media")
    return answer.body if answer.status == 200 else None


def begin(gcs: GcsServer, document: Any = None, query: str = "&name=x", **headers: str) -> str:
    """Start a resumable upload and return its URI."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    answer = gcs.send("POST", f"{UPLOAD}?uploadType=resumable{query}", json.dumps(document or {}), named)
    assert (answer.status, answer.body) == (200, b"")
    return answer.headers["location"]


def chunk(gcs: GcsServer, uri: str, data: bytes, content_range: str | None, **headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    if content_range is not None:
        named["Content-Range"] = content_range
    return gcs.send("PUT", uri, data, named)


def multipart(gcs: GcsServer, body: bytes, content_type: str = 'multipart/related; boundary="=b="') -> Answer:
    return gcs.send("POST", f"{UPLOAD}?uploadType=multipart", body, {"Content-Type": content_type})


# Uploads in one request


def test_media_upload_and_its_resource(gcs: GcsServer) -> None:
    answer = put(gcs, "dir%2Fx", b"data", content_type="text/plain")
    document = answer.json()
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json")
    assert document["kind"] == "storage#object" and document["name"] == "dir/x"
    assert document["size"] == "4" and document["contentType"] == "text/plain"
    assert document["generation"].isdigit() and document["metageneration"] == "1"
    assert document["id"] == f"{BUCKET}/dir/x/{document['generation']}"
    assert gcs.send("GET", document["mediaLink"]).body == b"data"
    assert gcs.send("GET", document["selfLink"]).json() == document
    # A slash in a name has to be escaped: unescaped it is another path.
    assert gcs.send("GET", f"{OBJECTS}/dir/x").status == 404


def test_the_layout_that_gcloud_asks_for_after_a_recursive_removal(gcs: GcsServer) -> None:
    answer = gcs.send("GET", f"/storage/v1/b/{BUCKET}/storageLayout?alt=json")
    assert (answer.status, answer.json()) == (200, {"kind": "storage#storageLayout", "bucket": BUCKET})
    assert gcs.send("GET", "/storage/v1/b/no-such-bucket/storageLayout").status == 404


def test_every_answer_has_a_date(gcs: GcsServer) -> None:
    assert "date" in put(gcs, "x", b"").headers
    assert "date" in gcs.send("GET", f"{OBJECTS}/x").headers
    assert "date" in gcs.send("GET", f"{OBJECTS}/none").headers


def test_multipart_upload_whose_data_looks_like_a_boundary(gcs: GcsServer) -> None:
    data = b"\r\n--=b\r\n--\r\n\r\n--=c=--" * 1000
    body = b'--=b=\r\nContent-Type: application/json\r\n\r\n{"name": "x"}\r\n--=b=\r\nContent-Type: a/b\r\n\r\n'
    answer = multipart(gcs, body + data + b"\r\n--=b=--\r\n")
    assert answer.status == 200 and answer.json()["contentType"] == "a/b"
    assert content(gcs) == data


def test_multipart_upload_as_gcloud_sends_it(gcs: GcsServer) -> None:
    """The boundary in single quotes, and lines that end with LF alone."""
    body = b'--=b=\nContent-Type: application/json\nMIME-Version: 1.0\n\n{"name": "x"}\n--=b=\n\nda\r\nta\n\n--=b=--'
    assert multipart(gcs, body, "multipart/related; boundary='=b='").status == 200
    assert content(gcs) == b"da\r\nta\n"


RELATED = "multipart/related; boundary==b="
NAMED = b'{"name": "x"}'


def parts(*bodies: bytes) -> bytes:
    """A multipart body of these parts, none with a header."""
    return b"--=b=" + b"\r\n--=b=".join(b"\r\n\r\n" + body for body in bodies) + b"\r\n--=b=--\r\n"


@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"", RELATED),
        (b"nothing of the kind", RELATED),
        (parts(NAMED), RELATED),
        (parts(NAMED, b"x", b"one too many"), RELATED),
        (parts(NAMED, b"cut short")[:-9], RELATED),
        (parts(b'{"name": ', b"x"), RELATED),
        (parts(b'["x"]', b"x"), RELATED),
        (parts(b"{}", b"x"), RELATED),
        (parts(b'{"name": "x", "contentType": 1}', b"x"), RELATED),
        (parts(b'{"name": "x", "contentType": "a\\nb"}', b"x"), RELATED),
        (parts(b'{"name": "\\ud800"}', b"x"), RELATED),
        (parts(b'{"name": "x", "md5Hash": "AAAA"}', b"x"), RELATED),
        (parts(NAMED, b"x"), "multipart/related"),
        (parts(NAMED, b"x"), "multipart/form-data; boundary==b="),
    ],
)
def test_bad_multipart_upload_is_refused_and_leaves_nothing(gcs: GcsServer, body: bytes, content_type: str) -> None:
    answer = multipart(gcs, body, content_type)
    assert answer.status == 400 and answer.json()["error"]["code"] == 400
    assert "items" not in gcs.send("GET", OBJECTS).json()
    assert list((gcs.store.folder / "staging").iterdir()) == []


@pytest.mark.parametrize(
    "query, reason",
    [
        ("uploadType=media", "required"),
        ("name=x", "required"),
        ("uploadType=magic&name=x", "invalid"),
        ("uploadType=media&name=..", "invalid"),
        ("uploadType=media&name=a%0Ab", "invalid"),
        ("uploadType=media&name=" + "n" * 1025, "invalid"),
        ("uploadType=media&name=x&ifGenerationMatch=soon", "invalidParameter"),
    ],
)
def test_bad_parameters_of_an_upload(gcs: GcsServer, query: str, reason: str) -> None:
    answer = gcs.send("POST", f"{UPLOAD}?{query}", b"data")
    assert (answer.status, answer.reason) == (400, reason)


@pytest.mark.parametrize("hashes", ["crc32c=AAAAAA==", "md5=1B2M2Y8AsgTpgAmY7PhCfg==", "sha1=x"])
def test_wrong_hash_in_the_header_is_refused(gcs: GcsServer, hashes: str) -> None:
    answer = put(gcs, "x", b"data", x_goog_hash=hashes)
    assert (answer.status, answer.reason) == (400, "invalid")
    assert content(gcs) is None


def test_right_hashes_in_the_header_are_accepted(gcs: GcsServer) -> None:
    md5 = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    # The check value of CRC-32C (RFC 3720, B.4) is for "123456789".
    assert put(gcs, "y", b"123456789", x_goog_hash="crc32c=4waSgw==").status == 200
    assert put(gcs, "x", b"data", x_goog_hash=f"md5={md5}").status == 200


def test_error_shapes(gcs: GcsServer) -> None:
    assert put(gcs, "x", b"").status == 200
    answer = put(gcs, "x", b"", query="&ifGenerationMatch=0")
    error = answer.json()["error"]
    assert answer.status == error["code"] == 412
    assert error["errors"] == [
        {
            "message": error["message"],
            "domain": "global",
            "reason": "conditionNotMet",
            "locationType": "header",
            "location": "If-Match",
        }
    ]
    assert gcs.send("GET", f"{OBJECTS}/none").reason == "notFound"
    assert gcs.send("PATCH", f"{OBJECTS}/x", b"{").reason == "parseError"
    assert gcs.send("PATCH", f"{OBJECTS}/x", b"[1]").reason == "parseError"
    assert gcs.send("PATCH", f"{OBJECTS}/x", b'{"metadata": {"a": 1}}').reason == "invalid"
    assert gcs.send("GET", OBJECTS + "?maxResults=0").reason == "invalidParameter"
    assert gcs.send("GET", OBJECTS + "?pageToken=!").reason == "invalid"
    assert gcs.send("GET", OBJECTS + "?fields=items(name").reason == "invalidParameter"
    assert gcs.send("GET", f"{OBJECTS}/%FF").status == 400
    media = gcs.send("GET", f"{OBJECTS}/none?alt=media")
    assert (media.status, media.body) == (404, f"No such object: {BUCKET}/none".encode())


def test_refusal_reaches_a_client_that_is_still_sending(gcs: GcsServer) -> None:
    path = UPLOAD.replace(BUCKET, "no-such-bucket") + "?uploadType=media&name=x"
    assert gcs.send("POST", path, bytes(16 << 20), {"Connection": "close"}).status == 404


def test_unavailable_answers_media_and_json_alike(gcs: GcsServer) -> None:
    gcs.failures = 2
    assert put(gcs, "x", b"d" * 1_000_000).reason == "backendError"
    assert gcs.send("GET", f"{OBJECTS}/x?alt=media").status == 503
    assert put(gcs, "x", b"data").status == 200


def test_not_match_answers_304_to_a_reader(gcs: GcsServer) -> None:
    generation = put(gcs, "x", b"data").json()["generation"]
    for query in (f"ifGenerationNotMatch={generation}", "ifMetagenerationNotMatch=1"):
        for media in ("", "&alt=media"):
            answer = gcs.send("GET", f"{OBJECTS}/x?{query}{media}")
            assert (answer.status, answer.body) == (304, b"")
    assert gcs.send("GET", f"{OBJECTS}/x?generation=1").status == 404
    assert gcs.send("DELETE", f"{OBJECTS}/x?generation={generation}").status == 204


# Downloads


@pytest.mark.parametrize(
    "header, status, expected, content_range",
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=9-", 206, b"9", "bytes 9-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-1", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
    ],
)
def test_range(gcs: GcsServer, header: str, status: int, expected: bytes | None, content_range: str | None) -> None:
    put(gcs, "x", b"0123456789")
    for path in (f"{OBJECTS}/x?alt=media", f"/download{OBJECTS}/x?alt=media"):
        answer = gcs.send("GET", path, headers={"Range": header})
        assert (answer.status, answer.headers.get("content-range")) == (status, content_range)
        assert expected is None or answer.body == expected


def test_gzip_object_is_decompressed_for_who_does_not_take_gzip(gcs: GcsServer) -> None:
    text = b"text" * 1_000_000
    packed = gzip.compress(text)
    put(gcs, "x", packed, query="&contentEncoding=gzip")
    plain = gcs.send("GET", f"{OBJECTS}/x?alt=media", headers={"Range": "bytes=0-3"})
    assert (plain.status, plain.body) == (200, text) and "content-encoding" not in plain.headers
    kept = gcs.send("GET", f"{OBJECTS}/x?alt=media", headers={"Accept-Encoding": "gzip"})
    assert kept.body == packed and kept.headers["content-encoding"] == "gzip"
    assert kept.headers["x-goog-stored-content-length"] == str(len(packed))


def test_download_goes_on_while_the_object_is_replaced(gcs: GcsServer) -> None:
    old = os.urandom(8 << 20)
    put(gcs, "x", old)
    with socket.create_connection(("127.0.0.1", gcs.port)) as reader:
        request = f"GET {OBJECTS}/x?alt=media HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        reader.sendall(request.encode())
        received = bytearray(reader.recv(1000))
        assert put(gcs, "x", b"new").status == 200
        while block := reader.recv(1 << 20):
            received += block
    assert received.partition(b"\r\n\r\n")[2] == old
    assert content(gcs) == b"new"


# Resumable uploads


def test_resumable_upload_step_by_step(gcs: GcsServer) -> None:
    data = os.urandom(2 * QUANTUM + 10)
    uri = begin(gcs, {"name": "x", "metadata": {"k": "v"}}, query="", x_upload_content_type="a/b")
    assert "range" not in chunk(gcs, uri, b"", "bytes */*").headers
    answer = chunk(gcs, uri, data[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
    assert (answer.status, answer.headers["range"], answer.body) == (308, f"bytes=0-{QUANTUM - 1}", b"")
    # Sent again, as after a lost answer, and overlapping with what has arrived.
    answer = chunk(gcs, uri, data[: 2 * QUANTUM], f"bytes 0-{2 * QUANTUM - 1}/*")
    assert answer.headers["range"] == f"bytes=0-{2 * QUANTUM - 1}"
    answer = chunk(gcs, uri, b"", f"bytes */{len(data)}")
    assert (answer.status, answer.headers["range"]) == (308, f"bytes=0-{2 * QUANTUM - 1}")
    assert content(gcs) is None
    last = f"bytes {2 * QUANTUM}-{len(data) - 1}/{len(data)}"
    done = chunk(gcs, uri, data[2 * QUANTUM :], last)
    assert (done.status, done.json()["contentType"], done.json()["metadata"]) == (200, "a/b", {"k": "v"})
    assert content(gcs) == data
    # The answer was lost: whoever asks, or sends the end again, learns that it is done.
    assert chunk(gcs, uri, b"", "bytes */*").json() == done.json()
    assert chunk(gcs, uri, data[2 * QUANTUM :], last).json() == done.json()


def test_whole_body_without_a_content_range(gcs: GcsServer) -> None:
    assert chunk(gcs, begin(gcs), b"all of it", None).status == 200
    assert content(gcs) == b"all of it"


def test_total_is_told_last(gcs: GcsServer) -> None:
    uri = begin(gcs)
    assert chunk(gcs, uri, bytes(QUANTUM), f"bytes 0-{QUANTUM - 1}/*").status == 308
    assert chunk(gcs, uri, b"", f"bytes */{QUANTUM}").json()["size"] == str(QUANTUM)


def test_odd_chunk_is_kept_in_whole_quanta(gcs: GcsServer) -> None:
    data = os.urandom(QUANTUM + 100)
    uri = begin(gcs)
    answer = chunk(gcs, uri, data, f"bytes 0-{len(data) - 1}/*")
    assert (answer.status, answer.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    assert chunk(gcs, uri, data[QUANTUM:], f"bytes {QUANTUM}-{len(data) - 1}/{len(data)}").status == 200
    assert content(gcs) == data


@pytest.mark.parametrize(
    "size, content_range",
    [
        (100, "bytes 0-99/*"),
        (100, f"bytes 0-99/{QUANTUM}"),
        (100, f"bytes {QUANTUM}-{QUANTUM + 99}/{QUANTUM + 100}"),
        (100, "bytes 0-98/99"),
        (100, "bytes 0-100/101"),
        (100, "bytes 0-99/50"),
        (100, "bytes 99-0/100"),
        (100, "0-99/100"),
        (100, "bytes 0-99"),
    ],
)
def test_bad_chunk_is_refused_and_the_session_goes_on(gcs: GcsServer, size: int, content_range: str) -> None:
    uri = begin(gcs)
    answer = chunk(gcs, uri, bytes(size), content_range)
    assert (answer.status, answer.reason) == (400, "invalid")
    assert chunk(gcs, uri, b"right", "bytes 0-4/5").status == 200
    assert content(gcs) == b"right"


def test_announced_length_is_binding(gcs: GcsServer) -> None:
    uri = begin(gcs, x_upload_content_length="5")
    assert chunk(gcs, uri, b"123456", "bytes 0-5/6").status == 400
    assert chunk(gcs, uri, b"123456", None).status == 400
    assert chunk(gcs, uri, b"12345", None).status == 200


@pytest.mark.parametrize("told_in", ["metadata", "header"])
def test_wrong_hash_ends_the_session(gcs: GcsServer, told_in: str) -> None:
    wrong = {"crc32c": "AAAAAA=="}
    uri = begin(gcs, wrong if told_in == "metadata" else None)
    headers = {"x_goog_hash": "crc32c=AAAAAA=="} if told_in == "header" else {}
    assert chunk(gcs, uri, b"data", "bytes 0-3/4", **headers).status == 400
    assert chunk(gcs, uri, b"", "bytes */4").status == 404
    assert content(gcs) is None and list((gcs.store.folder / "uploads").iterdir()) == []


def test_precondition_is_checked_at_the_start_and_at_the_end(gcs: GcsServer) -> None:
    uri = begin(gcs, query="&name=x&ifGenerationMatch=0")
    put(gcs, "x", b"first")
    assert chunk(gcs, uri, b"second", "bytes 0-5/6").status == 412
    assert content(gcs) == b"first"
    path = f"{UPLOAD}?uploadType=resumable&name=x&ifGenerationMatch=0"
    assert gcs.send("POST", path, b"{}").status == 412


def test_cancelled_upload_is_gone(gcs: GcsServer) -> None:
    uri = begin(gcs)
    chunk(gcs, uri, bytes(QUANTUM), f"bytes 0-{QUANTUM - 1}/*")
    assert gcs.send("DELETE", uri).status == 499
    assert chunk(gcs, uri, b"", "bytes */*").status == 404
    assert gcs.send("DELETE", uri).status == 404
    assert gcs.send("PUT", f"{UPLOAD}?upload_id=..%2F..%2Fx", b"").status == 404
    assert list((gcs.store.folder / "uploads").iterdir()) == []


def test_dropped_connection_keeps_what_arrived_in_whole_quanta(gcs: GcsServer) -> None:
    data = os.urandom(3 * QUANTUM)
    uri = begin(gcs)
    with socket.create_connection(("127.0.0.1", gcs.port)) as sender:
        head = f"PUT {uri.removeprefix(gcs.url)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        content_range = f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}\r\n"
        sender.sendall((head + content_range + "Expect: 100-continue\r\n\r\n").encode())
        # From here the session is this request's; later ones wait for it.
        assert sender.recv(100).startswith(b"HTTP/1.1 100")
        sender.sendall(data[: 2 * QUANTUM + 1000])
    answer = chunk(gcs, uri, b"", f"bytes */{len(data)}")
    assert (answer.status, answer.headers["range"]) == (308, f"bytes=0-{2 * QUANTUM - 1}")
    rest = data[2 * QUANTUM :]
    assert chunk(gcs, uri, rest, f"bytes {2 * QUANTUM}-{len(data) - 1}/{len(data)}").status == 200
    assert content(gcs) == data


def test_dropped_media_upload_leaves_nothing(gcs: GcsServer) -> None:
    with socket.create_connection(("127.0.0.1", gcs.port)) as sender:
        head = f"POST {UPLOAD}?uploadType=media&name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        sender.sendall((head + "Expect: 100-continue\r\n\r\n").encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 100")
        sender.sendall(b"half of it")
        sender.shutdown(socket.SHUT_WR)
        # The server closes once it has dealt with the lost upload.
        while sender.recv(100):
            pass
    assert content(gcs) is None


def test_resumable_upload_survives_a_restart(web: WebServer, tmp_path: Path) -> None:
    data = os.urandom(QUANTUM + 7)
    with serve(web, tmp_path) as first:
        path = begin(first).removeprefix(first.url)
        assert chunk(first, path, data[:QUANTUM], f"bytes 0-{QUANTUM - 1}/{len(data)}").status == 308
    with serve(web, tmp_path) as second:
        assert chunk(second, path, b"", "bytes */*").headers["range"] == f"bytes=0-{QUANTUM - 1}"
        last = f"bytes {QUANTUM}-{len(data) - 1}/{len(data)}"
        done = chunk(second, path, data[QUANTUM:], last)
        assert done.json()["md5Hash"] == base64.b64encode(hashlib.md5(data).digest()).decode()
    with serve(web, tmp_path) as third:
        assert chunk(third, path, b"", "bytes */*").json()["generation"] == done.json()["generation"]


# Memory

_MEASURE = """
import http.client, os, resource, sys
from pathlib import Path
from tests.sim.gcs_fixtures import BUCKET, WebServer, serve

folder, size = Path(sys.argv[1]), int(sys.argv[2])
media = f"/storage/v1/b/{BUCKET}/o/big?alt=media"
metadata = b'--b\\r\\n\\r\\n{"name": "big"}\\r\\n--b\\r\\n\\r\\n'
tail = b"\\r\\n--b--"

def blocks(file):
    yield metadata
    while block := file.read(1 << 20):
        yield block
    yield tail

def exchange(path, kind, size):
    with open(folder / "source", "wb") as source:
        source.truncate(size)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with open(folder / "source", "rb") as source:
        length = size + len(metadata) + len(tail) if kind else size
        headers = {"Content-Length": str(length), "Content-Type": kind}
        body = blocks(source) if kind else source
        connection.request("PUT" if "upload_id" in path else "POST", path, body, headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    connection.request("GET", media)
    answer, received = connection.getresponse(), 0
    while block := answer.read(1 << 20):
        received += len(block)
    assert received == size
    connection.close()

def run(size):
    upload = f"/upload/storage/v1/b/{BUCKET}/o"
    exchange(upload + "?uploadType=multipart", "multipart/related; boundary=b", size)
    started = server.send("POST", upload + "?uploadType=resumable&name=big", b"{}")
    exchange(started.headers["location"].removeprefix(server.url), "", size)

with WebServer.run() as web, serve(web, folder / "gcs") as server:
    run(8 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(size)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_large_object_does_not_go_through_memory(tmp_path: Path) -> None:
    size = 160 << 20
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(run.stdout) * unit < size / 4
