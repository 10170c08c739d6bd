from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.errors import PackagingError
from launcher.shipping import archive as archive_module
from launcher.shipping.archive import Archive
from launcher.shipping.blobs import LocalBlob
from launcher.shipping.cache import Cache, open_cache
from launcher.shipping.captured import Search
from launcher.shipping.listing import listing_of
from launcher.shipping.project import Place
from launcher.shipping.walk import Entry, walk
from tests.shipping.conftest import Tree

FILES: dict[str, str | bytes] = {
    "a.py": "print(1)\n",
    "run.sh": "#!/bin/sh\n",
    "data/empty/": "",
    "data/x.bin": os.urandom(70_000),
}


@pytest.fixture
def temporary() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


class Packer:
    """Packs one root; `read` are the files that were opened for it."""

    def __init__(
        self, root: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, temporary: contextlib.ExitStack
    ) -> None:
        self.root, self.cache, self.read, self.temporary = root, cache, list[str](), temporary
        self._monkeypatch = monkeypatch
        opened = archive_module._opened

        def record(root: Path, path: str) -> object:
            self.read.append(path)
            return opened(root, path)

        monkeypatch.setattr(archive_module, "_opened", record)

    def pack(self, values: dict[str, str] | None = None) -> LocalBlob:
        self.read.clear()
        return self.pack_entries(walk(self.root)[0], values)

    def pack_entries(self, entries: list[Entry], values: dict[str, str] | None = None) -> LocalBlob:
        archive = Archive(self.root, self.cache, lambda step: None, self.temporary)
        return archive.pack(entries, Search(values or {}, self.cache))

    def as_a_new_process(self) -> None:
        self._monkeypatch.setattr(archive_module, "_recent", {})


@pytest.fixture
def packer(tree: Tree, cache: Cache, monkeypatch: pytest.MonkeyPatch, temporary: contextlib.ExitStack) -> Packer:
    """Its files were written long enough ago for their times to count."""
    root = tree(FILES)
    (root / "run.sh").chmod(0o700)
    later = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(archive_module.time, "time_ns", lambda: later)
    return Packer(root, cache, monkeypatch, temporary)


def content(local: LocalBlob) -> bytes:
    with local.open() as file:
        return file.read()


def test_the_same_tree_gives_the_same_bytes(packer: Packer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packer.root / "link").symlink_to("data/x.bin")
    first = packer.pack()
    copy = tmp_path / "elsewhere" / "copy"
    copy.parent.mkdir()
    subprocess.run(["cp", "-R", str(packer.root), str(copy)], check=True)
    os.utime(copy / "a.py", (1, 1))
    (copy / "a.py").chmod(0o600)
    second = Packer(copy, packer.cache, monkeypatch, packer.temporary).pack()
    assert second == first and content(second) == content(first)
    (copy / "a.py").chmod(0o755)
    assert Packer(copy, packer.cache, monkeypatch, packer.temporary).pack() != first


def test_it_unpacks_to_the_same_tree(packer: Packer, tmp_path: Path) -> None:
    (packer.root / "link").symlink_to("data/x.bin")
    long = packer.root / ("d" * 90) / ("e" * 90) / ("ü" * 40)
    long.parent.mkdir(parents=True)
    long.write_text("long")
    raw = os.path.join(os.fsencode(packer.root), b"\xff.bin")
    with open(raw, "wb") as file:
        file.write(b"raw")
    with packer.pack().open() as source, tarfile.open(fileobj=source) as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "out", filter="data")
    assert all((m.uid, m.gid, m.mtime, m.uname, m.gname) == (0, 0, 0, "", "") for m in members)
    assert {m.mode for m in members if m.isfile()} == {0o644, 0o755}
    assert {m.mode for m in members if m.isdir()} == {0o755}
    subprocess.run(["diff", "-r", "--no-dereference", str(packer.root), str(tmp_path / "out")], check=True)
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert (tmp_path / "out" / "data" / "empty").is_dir()


@pytest.mark.parametrize("new_process", [False, True])
def test_an_unchanged_project_is_not_read(packer: Packer, new_process: bool) -> None:
    first = packer.pack()
    assert packer.read
    if new_process:
        packer.as_a_new_process()
    assert packer.pack() == first
    assert packer.read == []


def _rewrite(root: Path) -> None:
    (root / "a.py").write_text("print(2)\n")


def _rewrite_and_set_the_time_back(root: Path) -> None:
    info = (root / "a.py").stat()
    _rewrite(root)
    os.utime(root / "a.py", ns=(info.st_atime_ns, info.st_mtime_ns))


def _replace(root: Path) -> None:
    (root / "new").write_text("print(2)\n")
    os.replace(root / "new", root / "a.py")


@pytest.mark.parametrize(
    "change",
    [
        _rewrite, _rewrite_and_set_the_time_back, _replace,
        lambda root: (root / "a.py").unlink(),
        lambda root: (root / "a.py").rename(root / "b.py"),
        lambda root: (root / "a.py").chmod(0o755),
        lambda root: (root / "new/").mkdir(),
        lambda root: (root / "link").symlink_to("a.py"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("new_process", [False, True])
def test_every_change_counts(packer: Packer, change: Callable[[Path], object], new_process: bool) -> None:
    first = packer.pack()
    change(packer.root)
    if new_process:
        packer.as_a_new_process()
    assert packer.pack() != first


def test_a_file_written_just_now_is_read_again(packer: Packer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one tick of the file system's clock have the same times."""
    entries = walk(packer.root)[0]
    written_ns = max(entry.ctime_ns for entry in entries)
    moment = [written_ns + 1]
    monkeypatch.setattr(archive_module.time, "time_ns", lambda: moment[0])
    first = packer.pack_entries(entries)
    (packer.root / "a.py").write_text("print(2)\n")
    assert packer.pack_entries(entries) != first  # with the very same times
    (packer.root / "a.py").write_text("print(1)\n")
    moment[0] = written_ns + 10**9
    assert packer.pack_entries(entries) == first
    packer.read.clear()
    assert packer.pack_entries(entries) == first
    assert packer.read == []


def test_a_remembered_archive_can_still_be_sent(packer: Packer) -> None:
    first = content(packer.pack())
    packer.as_a_new_process()
    again = packer.pack()
    assert packer.read == []
    assert content(again) == first
    (packer.root / "a.py").write_text("other")
    with pytest.raises(PackagingError, match="changed while they were being sent"):
        again.open()


def test_values_are_searched_for_only_when_they_or_the_files_changed(packer: Packer) -> None:
    packer.pack({"KEY": "first-secret"})
    packer.pack({"KEY": "first-secret"})
    assert packer.read == []
    packer.as_a_new_process()
    packer.pack({"OTHER_NAME": "first-secret"})
    assert packer.read == []
    packer.pack({"KEY": "second-secret"})
    assert set(packer.read) == {"a.py", "run.sh", "data/x.bin"}
    packer.pack({"KEY": "second-secret", "OLD": "first-secret"})
    assert packer.read == []
    (packer.root / "a.py").write_text("x = 'second-secret'")
    with pytest.raises(PackagingError, match=r"captured variable KEY is in a\.py"):
        packer.pack({"KEY": "second-secret"})
    (packer.root / "a.py").write_text("x = 1")
    packer.pack({"KEY": "second-secret"})


def test_a_value_is_found_in_an_archive_that_is_remembered(packer: Packer) -> None:
    (packer.root / "a.py").write_text("x = 'a-new-secret'")
    packer.pack()
    for _ in range(2):
        with pytest.raises(PackagingError, match=r"captured variable TOKEN is in a\.py.*\.launcherignore") as caught:
            packer.pack({"TOKEN": "a-new-secret"})
        assert "a-new-secret" not in str(caught.value)


def test_the_memory_holds_no_value(packer: Packer, tmp_path: Path) -> None:
    packer.pack({"KEY": "first-secret"})
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept and not any(b"first-secret" in data for data in kept)


def test_a_file_that_cannot_be_read_is_named(packer: Packer) -> None:
    entries = walk(packer.root)[0]
    (packer.root / "a.py").unlink()
    with pytest.raises(PackagingError, match=r"cannot read .*/a\.py: No such file"):
        packer.pack_entries(entries)


def test_the_limit_lists_the_largest_files(tree: Tree) -> None:
    listing = listing_of(Place(tree({f"f{index:02}": b"x" * index for index in range(20)})))
    listing.check_size(190)
    with pytest.raises(PackagingError) as caught:
        listing.check_size(189)
    lines = str(caught.value).splitlines()
    assert "190 bytes, the limit is 189 bytes" in lines[0]
    assert [line.split()[-1] for line in lines[1:-1]] == [f"f{index:02}" for index in range(19, 9, -1)]
    assert ".launcherignore" in lines[-1] and "max_archive_bytes" in lines[-1]


def test_a_failed_packing_leaves_no_file(packer: Packer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    packer.pack()
    (packer.root / "a.py").write_text("the-secret")
    with pytest.raises(PackagingError):
        packer.pack({"KEY": "the-secret"})
    assert list(scratch.iterdir()) == []


def test_a_project_that_another_cache_knows_is_packed_for_each(packer: Packer, tmp_path: Path) -> None:
    first = packer.pack()
    other = Packer(packer.root, open_cache(tmp_path / "other"), packer._monkeypatch, packer.temporary)
    assert other.pack() == first
