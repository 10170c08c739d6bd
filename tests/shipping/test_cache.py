from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.shipping.cache import Cache, open_cache


def test_what_is_written_is_read(cache: Cache) -> None:
    cache.write("a/b", b"x")
    cache.write_json("a/c", {"k": 1})
    assert cache.read("a/b") == b"x" and cache.read_json("a/c") == {"k": 1}
    assert (cache.root / "a" / "b").stat().st_mode & 0o777 == 0o600
    assert cache.root.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (cache.root / "a").iterdir()) == ["b", "c"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_file_is_as_good_as_none(cache: Cache, data: bytes) -> None:
    cache.write("x", data)
    assert cache.read_json("x") == {}


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "below")
    cache.write("a", b"x")
    assert cache.read("a") is None
    assert cache.mac(b"v") == cache.mac(b"v")


def test_a_folder_that_others_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=r"other users can write to it\. Fix: chmod 700"):
        Cache(tmp_path)


def test_the_folder_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_CACHE_DIR", str(tmp_path / "chosen"))
    assert open_cache().root == tmp_path / "chosen"
    monkeypatch.delenv("LAUNCHER_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_cache().root == tmp_path / ".cache" / "launcher"
