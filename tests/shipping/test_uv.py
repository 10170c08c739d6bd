from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

import pytest

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import uv
from launcher.shipping.cache import Cache, open_cache
from launcher.shipping.requirements import mask
from launcher.shipping.uv import UV_SHA256, UvFailed, uv_binary
from tests.packages import wheel


def test_it_is_the_pinned_binary_and_packed_once(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(warm_cache)
    first = uv_binary(cache, warm_cache)
    with first.open() as packed:
        assert hashlib.sha256(gzip.decompress(packed.read())).hexdigest() == UV_SHA256
    monkeypatch.setattr("uv.find_uv_bin", lambda: "/nowhere/uv")
    assert uv_binary(cache, warm_cache) == first


def test_the_pin_is_the_version_that_this_project_is_locked_to() -> None:
    assert uv.version() == uv.UV_VERSION


@pytest.fixture
def index_with_uv(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """This machine has another uv; the index has the pinned version. Its binary, which is not the published one."""
    folder = tmp_path / "with-uv"
    folder.mkdir()
    with zipfile.ZipFile(wheel(folder, "uv", uv.UV_VERSION), "a") as archive:
        archive.writestr(f"uv-{uv.UV_VERSION}.data/scripts/uv", b"\x7fELF binary")
    Path(tmp_path / "uv.toml").write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setattr(uv, "version", lambda: "99.0.0")
    return b"\x7fELF binary"


def test_another_uv_here_means_that_the_pinned_one_is_fetched(
    index_with_uv: bytes, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv, "UV_SHA256", hashlib.sha256(index_with_uv).hexdigest())
    steps: list[str] = []
    with uv_binary(cache, cache.root, steps.append).open() as packed:
        assert gzip.decompress(packed.read()) == index_with_uv
    assert steps == [f"fetching uv {uv.UV_VERSION} for the workers"]


def test_a_binary_that_is_not_the_published_one_is_refused(index_with_uv: bytes, cache: Cache) -> None:
    with pytest.raises(PackagingError, match="is not the published one"):
        uv_binary(cache, cache.root)
    assert not (cache.root / "uv").exists()


def test_an_index_without_it_is_said(index_with_uv: bytes, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "UV_VERSION", "0.0.1")
    with pytest.raises(PackagingError, match=r"(?s)cannot fetch uv 0\.0\.1 .*uv==0\.0\.1"):
        uv_binary(cache, cache.root)


def test_a_damaged_copy_is_made_again(warm_cache: Path, cache: Cache) -> None:
    good = uv_binary(open_cache(warm_cache), warm_cache)
    cache.write_json(
        f"uv/{UV_SHA256}.json", {"sha256": good.blob.sha256, "size": good.blob.size, "crc32c": good.crc32c}
    )
    cache.write(f"uv/{UV_SHA256}.gz", b"cut off")
    with uv_binary(cache, warm_cache).open() as made, good.open() as published:
        assert made.read() == published.read()


def test_what_uv_says_comes_without_credentials(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--index-url https://user:s3cret@127.0.0.1:1/simple\n-r missing.txt\n")
    with pytest.raises(UvFailed) as caught:
        uv.run(["pip", "compile", "--offline", "requirements.txt"], tmp_path)
    assert "missing.txt" in str(caught.value) and "s3cret" not in str(caught.value)
    assert mask("see https://a:b@host/x and git+https://t@host") == "see https://****@host/x and git+https://****@host"


def test_a_missing_uv_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError("/nowhere")

    monkeypatch.setattr("uv.find_uv_bin", missing)
    with pytest.raises(ConfigError, match="the program uv is missing"):
        uv.run(["--version"], tmp_path)
