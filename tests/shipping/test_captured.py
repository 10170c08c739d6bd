from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import PackagingError
from launcher.shipping.cache import Cache
from launcher.shipping.captured import Search, SearchedStream, capture

HERE = {
    "KAGGLE_KEY": "k", "KAGGLE_USER": "u", "HF_TOKEN": "h",
    "PATH": "/bin", "HOME": "/h", "LD_PRELOAD": "x", "LD_LIBRARY_PATH": "x", "PYTHONPATH": "x", "PYTHONHASHSEED": "0",
    "VIRTUAL_ENV": "x", "SSH_AUTH_SOCK": "x", "SSH_CONNECTION": "x", "TMPDIR": "/t", "LC_ALL": "C", "http_proxy": "x",
    "GOOGLE_APPLICATION_CREDENTIALS": "/c", "LAUNCHER_PROFILE": "p", "JAX_PLATFORMS": "cpu",
}  # fmt: skip


def test_names_and_globs() -> None:
    values, unmatched = capture(["KAGGLE_*", "HF_TOKEN", "WANDB_*", "MISSING"], HERE)
    assert values == {"KAGGLE_KEY": "k", "KAGGLE_USER": "u", "HF_TOKEN": "h"}
    assert unmatched == ["WANDB_*", "MISSING"]


@pytest.mark.parametrize("glob", ["*", "?*", "[A-Za-z]*"])
def test_a_glob_never_takes_what_describes_this_machine(glob: str) -> None:
    assert set(capture([glob], HERE)[0]) == {"KAGGLE_KEY", "KAGGLE_USER", "HF_TOKEN"}


def test_an_exact_name_is_taken_as_it_is() -> None:
    assert capture(["PYTHONHASHSEED"], HERE) == ({"PYTHONHASHSEED": "0"}, [])
    assert capture(["PYTHON*"], HERE) == ({}, ["PYTHON*"])


def test_a_value_that_is_not_text_is_named() -> None:
    with pytest.raises(PackagingError, match="variable RAW is not valid UTF-8"):
        capture(["RAW"], {"RAW": "\udcff"})


def test_short_values_are_not_searched_for(cache: Cache) -> None:
    assert Search({"A": "1234567", "B": "  7 chars ", "C": "", "D": "12345678"}, cache).values == {"D": b"12345678"}


@given(
    before=st.binary(max_size=30), after=st.binary(max_size=30), value=st.binary(min_size=8, max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=72), max_size=12),
)  # fmt: skip
def test_a_value_is_found_however_the_stream_is_cut(before: bytes, after: bytes, value: bytes, cuts: list[int]) -> None:
    stream = SearchedStream({"OTHER": b"\0never-in-here\0" * 3, "KEY": value})
    data = before + value + after
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        stream.feed(data[start:end])
    assert stream.found == "KEY"


@given(data=st.lists(st.binary(max_size=20)))
def test_what_is_not_there_is_not_found(data: list[bytes]) -> None:
    stream = SearchedStream({"KEY": b"x" * 200})
    for piece in data:
        stream.feed(piece)
    assert stream.found == ""


def test_keyed_hashes_differ_between_caches(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Cache(tmp_path_factory.mktemp("other"))
    assert cache.mac(b"value") == Cache(cache.root).mac(b"value") != other.mac(b"value")
