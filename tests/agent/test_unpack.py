from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from launcher.agent import unpack
from launcher.agent.unpack import UnsafeArchive

LINK = tarfile.SYMTYPE


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, mode
    return info


def packed(path: Path, *members: tarfile.TarInfo) -> Path:
    archive = path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size) if info.size else None)
    return archive


def test_files_folders_links_and_executable_bits_arrive(tmp_path: Path) -> None:
    members = (
        member("empty", tarfile.DIRTYPE),
        member("bin/run", size=3, mode=0o755),
        member("data/a.txt", size=5),
        member("data/link", LINK, "../bin/run"),
        member("dangling", LINK, "data/none"),
    )
    unpack.unpack(packed(tmp_path, *members), tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "empty").is_dir() and (out / "data" / "link").read_bytes() == b"xxx"
    assert (out / "bin" / "run").stat().st_mode & 0o777 == 0o755
    assert (out / "data" / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (out / "dangling").is_symlink()


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("a/../../evil")],
        [member("/tmp/evil")],
        [member("link", LINK, "/etc/passwd")],
        [member("link", LINK, "..")],
        [member("a/link", LINK, "../../outside")],
        [member("b", LINK, "."), member("a", LINK, "b/..")],
        [
            member("a", LINK, "b/.."),
            member("b", LINK, "."),
            member("a/evil", LINK, "b"),
        ],
        [member("device", tarfile.CHRTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("a", size=1), member("hard", tarfile.LNKTYPE, "a")],
        [member("a", size=1), member("a/b", size=1)],
    ],
)
def test_what_would_leave_the_folder_is_refused_and_nothing_stays(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    before = {path.name for path in tmp_path.iterdir()} | {"archive.tar.gz"}
    with pytest.raises(UnsafeArchive):
        unpack.unpack(packed(tmp_path, *members), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_archive_larger_than_the_disk_is_refused_by_its_declared_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "free_bytes", lambda path: 10)
    with pytest.raises(UnsafeArchive, match="10 bytes that are free"):
        unpack.unpack(packed(tmp_path, member("a", size=6), member("b", size=6)), tmp_path / "out")


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path, member("a", size=100_000))
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(UnsafeArchive, match="cannot be unpacked"):
        unpack.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_there_stays_for_a_process_may_be_starting_in_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    inode = out.stat().st_ino
    members = [member("a/b", size=1), member("c", size=1), member("l", LINK, "c"), member("../d", size=1)]
    with pytest.raises(UnsafeArchive):
        unpack.unpack(packed(tmp_path, *members), out)
    assert out.stat().st_ino == inode and list(out.iterdir()) == []
