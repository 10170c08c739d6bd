from __future__ import annotations

import functools
import platform
import shutil
from pathlib import Path

import pytest

from launcher.errors import PackagingError
from launcher.shipping import interpreter, pack, packing, upload, uv
from launcher.shipping.cache import Cache
from launcher.shipping.environment import Locks
from tests.packages import PYTHON, python_mirror
from tests.shipping.conftest import MemoryBucket, Tree

INDEX = "https://us-central1-python.pkg.dev/my-project/tpu-python/simple/"


@pytest.fixture
def mirror(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """uv here fetches Pythons from this folder's `mirror`, which is the only place that it knows."""
    folder = tmp_path / "pythons"
    for name, value in python_mirror(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV_OFFLINE")
    return folder


def test_the_archive_that_uv_checked_is_fetched_once(cache: Cache, mirror: Path) -> None:
    steps: list[str] = []
    version, local = interpreter.fetch(cache, mirror, PYTHON, steps.append)
    assert version == platform.python_version()
    assert steps == [f"fetching Python {PYTHON} for the workers, which have no internet"]
    (published,) = (mirror / "mirror").rglob("*.tar.gz")
    with local.open() as archive:
        assert archive.read() == published.read_bytes()
    shutil.rmtree(mirror / "mirror")
    again, kept = interpreter.fetch(cache, mirror, PYTHON, steps.append)
    assert (again, kept) == (version, local) and len(steps) == 1
    with kept.open() as archive:
        assert archive.read(2) == b"\x1f\x8b"


def test_what_the_person_prefers_for_projects_here_does_not_matter(
    cache: Cache, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_MANAGED_PYTHON")
    monkeypatch.setenv("UV_PYTHON_PREFERENCE", "only-system")
    assert interpreter.fetch(cache, mirror, PYTHON, lambda step: None)[0] == platform.python_version()


def test_a_newer_uv_looks_again(cache: Cache, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    interpreter.fetch(cache, mirror, PYTHON, steps.append)
    monkeypatch.setattr(uv, "version", lambda: "99.0.0")
    interpreter.fetch(cache, mirror, PYTHON, steps.append)
    assert len(steps) == 2


def test_an_archive_that_is_not_the_published_one_is_refused(cache: Cache, mirror: Path) -> None:
    (published,) = (mirror / "mirror").rglob("*.tar.gz")
    published.write_bytes(published.read_bytes() + b"more")
    with pytest.raises(PackagingError, match=r"(?s)Hash mismatch.*UV_PYTHON_INSTALL_MIRROR"):
        interpreter.fetch(cache, mirror, PYTHON, lambda step: None)
    assert not (cache.root / "python").exists()


@pytest.mark.parametrize(
    "host, python_index, refused",
    [("host.invalid", INDEX, True), ("host.invalid", "", False), ("storage.googleapis.com", INDEX, False)],
)
def test_what_has_a_url_of_its_own_is_refused_for_workers_that_cannot_reach_it(
    host: str, python_index: str, refused: bool,
    cache: Cache, mirror: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    line = f"arrays @ https://{host}/arrays-2.0-py3-none-any.whl --hash=sha256:{'0' * 64}\n"
    monkeypatch.setattr(packing, "lock", lambda *_: Locks("", line, (), {}))  # to have one, uv would ask that host
    call = functools.partial(pack, abs, (-1,), cache_dir=cache.root, project_root=tree({"a.py": ""}))
    if refused:
        with pytest.raises(PackagingError, match=rf"{host}/arrays.*no internet"):
            call(python_index=python_index)
    else:
        call(python_index=python_index).close()


def test_a_call_for_workers_without_internet_brings_their_python_and_no_index_of_this_machine(
    cache: Cache, mirror: Path, tree: Tree, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_CORP_PASSWORD", "s3cret")
    root = tree({"a.py": "a = 1\n"})
    with pack(abs, (-1,), cache_dir=cache.root, project_root=root, python_index=INDEX) as packed:
        assert packed.index_args == {} and packed.interpreter is not None
        assert any("no internet" in notice and INDEX in notice for notice in packed.notices)
        upload(packed, bucket, "ada")  # type: ignore[arg-type]
        assert any(packed.interpreter[1].blob.sha256 in name for name in bucket.objects)
    with pack(abs, (-1,), cache_dir=cache.root, project_root=root) as packed:
        assert packed.interpreter is None and packed.index_args["UV_INDEX_CORP_PASSWORD"] == "s3cret"
