from __future__ import annotations

import io
from pathlib import Path

import pytest

from launcher.agent import rest
from launcher.agent.bucket import Bucket, TooLarge
from launcher.agent.control import Stopped, StopRequest
from launcher.agent.rest import HttpError, Metadata, Rest, Unreachable
from tests.agent.google import DROP, Google


@pytest.fixture
def state(google_state: Google, monkeypatch: pytest.MonkeyPatch) -> Google:
    monkeypatch.setenv("GCE_METADATA_HOST", google_state.url.removeprefix("http://"))
    monkeypatch.setattr(rest, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(rest, "_MAX_DELAY_S", 0.001)
    google_state.faults.clear()
    google_state.requests.clear()
    return google_state


def bucket(state: Google, *, patience_s: float = 600.0, stop: StopRequest | None = None) -> Bucket:
    return Bucket(Rest(Metadata(0.0), patience_s=patience_s, stop=stop), state.url, "jobs")


def test_writes_state_their_precondition(state: Google) -> None:
    store = bucket(state)
    first = store.create("a/b c", b"one")
    assert first is not None and store.create("a/b c", b"two") is None
    second = store.replace("a/b c", b"two", first)
    assert second is not None and store.replace("a/b c", b"three", first) is None
    found = store.read("a/b c")
    assert found is not None and (found.data, found.generation) == (b"two", second)
    assert store.read("nothing") is None
    assert all("ifGenerationMatch=" in path for method, path in state.requests if method == "POST")


def test_a_connection_is_used_again_and_closed_when_it_is_forgotten(state: Google) -> None:
    rest.forget_connections()
    store = bucket(state)
    store.read("nothing")
    kept = {connection for connection, _ in rest._local.open.values()}
    store.read("nothing")
    assert kept == {connection for connection, _ in rest._local.open.values()}
    rest.forget_connections()
    assert kept and all(each.sock is None for each in kept) and not rest._local.__dict__


def test_a_large_file_is_uploaded_whole_through_failures(state: Google, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(data)
    faults = [state.fail(lambda method, path: method == "POST", code, times=2) for code in (503, DROP)]
    bucket(state).upload_file("a large file", tmp_path / "file")
    assert state.get("a large file") == data and not any(fault.times for fault in faults)


def test_an_upload_of_a_file_whose_answer_was_lost_is_done(state: Google, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    state.put("there", b"x")
    bucket(state).upload_file("there", tmp_path / "file")
    assert state.get("there") == b"x"


def test_a_download_is_bounded_and_missing_objects_are_said(state: Google) -> None:
    state.put("ten", b"0123456789")
    target = io.BytesIO()
    assert bucket(state).download("ten", target, 10) and target.getvalue() == b"0123456789"
    assert not bucket(state).download("none", io.BytesIO(), 10)
    with pytest.raises(TooLarge):
        bucket(state).download("ten", io.BytesIO(), 9)


def test_a_full_disk_is_not_waited_out(state: Google) -> None:
    state.put("large", b"x" * 2_000_000)
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb", buffering=0) as disk:
        bucket(state).download("large", disk, 2_000_000)


def test_a_download_goes_on_where_it_stopped(state: Google) -> None:
    state.put("resumed", b"0123456789")
    target = io.BytesIO(b"01234")
    target.seek(5)
    assert bucket(state).download("resumed", target, 10)
    assert target.getvalue() == b"0123456789"


def test_outages_are_waited_out_within_the_patience(state: Google) -> None:
    state.put("name", b"data")
    state.fail(lambda method, path: "/o/name" in path, 503, times=5)
    state.fail(lambda method, path: "/o/name" in path, DROP, times=2)
    found = bucket(state).read("name")
    assert found is not None and found.data == b"data"
    state.fail(lambda method, path: "/o/name" in path, 503, times=1_000_000)
    with pytest.raises(Unreachable, match="503"):
        bucket(state, patience_s=0.05).read("name")


def test_refusals_are_not_retried_and_say_googles_words(state: Google) -> None:
    fault = state.fail(lambda method, path: "/o/name" in path, 403, times=10)
    with pytest.raises(HttpError, match="HTTP 403: injected"):
        bucket(state).read("name")
    assert fault.times == 9


def test_a_refused_token_is_replaced_once(state: Google) -> None:
    state.put("name", b"data")
    fault = state.fail(lambda method, path: "/o/name" in path, 401)
    assert bucket(state).read("name") is not None and fault.times == 0
    assert sum(path.endswith("/token") for _, path in state.requests) == 2


def test_a_stop_request_ends_the_waiting(state: Google) -> None:
    stop = StopRequest()
    stop.request("Cancelled", "enough")
    with pytest.raises(Stopped, match="enough"):
        bucket(state, stop=stop).read("name")
