from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from launcher.shipping.walk import FILE, FOLDER, LINK, Entry, LeftOut, walk
from tests.shipping.conftest import Tree


def walked(root: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    entries, left_out = walk(root)
    return {entry.path: entry for entry in entries}, dict(left_out)


def test_entries_say_what_they_are(tree: Tree) -> None:
    root = tree({"run.sh": "#!", "data/empty/": "", "data/x.bin": b"12345"})
    (root / "run.sh").chmod(0o744)
    entries, left_out = walked(root)
    assert not left_out
    assert {path: (entry.kind, entry.size, entry.executable) for path, entry in entries.items()} == {
        "data": (FOLDER, 0, False), "data/empty": (FOLDER, 0, False),
        "data/x.bin": (FILE, 5, False), "run.sh": (FILE, 2, True),
    }  # fmt: skip


def test_the_order_is_fixed_and_folders_come_before_their_files(tree: Tree) -> None:
    root = tree(dict.fromkeys(("b/x", "a.txt", "a/z", "a/b/c", "Z"), ""))
    paths = [entry.path for entry in walk(root)[0]]
    assert paths == ["Z", "a", "a/b", "a/b/c", "a/z", "a.txt", "b", "b/x"]


@pytest.mark.parametrize(
    "target, sent_as",
    [
        ("data.txt", "data.txt"), ("sub/../data.txt", "data.txt"), ("sub", "sub"), ("gone", "gone"),
        ("link", "link"),
        ("/abs/project/data.txt", "data.txt"), ("../project/data.txt", "data.txt"),
        ("..", None), ("/etc/hostname", None), ("../outside.txt", None), ("sub/out", None),
    ],
)  # fmt: skip
def test_links_stay_links_unless_they_leave_the_root(
    tree: Tree, tmp_path: Path, target: str, sent_as: str | None
) -> None:
    root = tree({"data.txt": "", "sub/x": ""})
    (tmp_path / "outside.txt").write_text("")
    (root / "sub" / "out").symlink_to("../../outside.txt")
    (root / "link").symlink_to(target.replace("/abs", str(tmp_path)))
    entries, left_out = walked(root)
    if sent_as is None:
        assert "link" not in entries and left_out["link"].startswith("link that leaves the project (to ")
    else:
        assert entries["link"].kind == LINK and entries["link"].target == sent_as
    assert "sub/out" in left_out


def test_a_linked_folder_is_not_walked_into(tree: Tree) -> None:
    root = tree({"a/x": ""})
    (root / "a" / "loop").symlink_to("..")
    entries, _ = walked(root)
    assert set(entries) == {"a", "a/x", "a/loop"}


def test_what_is_neither_file_nor_folder_is_left_out(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"x": ""})
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path is limited to about a hundred characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        entries, left_out = walked(root)
    assert set(entries) == {"x"}
    assert set(left_out) == {"pipe", "sock"}


def test_odd_names(tree: Tree) -> None:
    root = tree({"with space": "", "naïve.py": "", "new\nline": "", "[x]*?": "", "-r": ""})
    raw = os.path.join(os.fsencode(root), b"\xff\xfe.bin")
    with open(raw, "wb"):
        pass
    entries, _ = walked(root)
    assert {os.fsencode(path) for path in entries} == {
        b"with space", "naïve.py".encode(), b"new\nline", b"[x]*?", b"-r", b"\xff\xfe.bin",
    }  # fmt: skip


def test_a_second_walk_sees_what_changed(tree: Tree) -> None:
    root = tree({"a": "", "sub/b": ""})
    walk(root)
    (root / "sub" / "b").unlink()
    (root / "sub" / "c").write_text("new")
    os.rename(root / "a", root / "d")
    assert [entry.path for entry in walk(root)[0]] == ["d", "sub", "sub/c"]


def test_a_name_that_turns_from_file_to_folder(tree: Tree) -> None:
    root = tree({".gitignore": "x/\n", "x": ""})
    assert walk(root)[1] == []
    (root / "x").unlink()
    (root / "x").mkdir()
    assert walk(root)[1] == [LeftOut("x/", ".gitignore: x/")]
