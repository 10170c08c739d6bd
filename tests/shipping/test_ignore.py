from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.errors import PackagingError
from launcher.shipping.ignore import Rules, is_credential, parse
from launcher.shipping.walk import walk
from tests.shipping.conftest import Tree

_SEGMENTS = st.sampled_from(["a", "b", "*", "**", "a*", "?", "[ab]", "*.c", "a.c"])
_PATTERNS = st.builds(
    lambda negated, rooted, segments, folder: negated + rooted + "/".join(segments) + folder,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(_SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
_FILES = ["a", "b/a", "b/a.c", "b/b/a", "b/b/a.c", "c/a/b/a.c", "c/b", "a.c/b", "a.d/a/a"]


def kept(root: Path) -> set[str]:
    return {entry.path for entry in walk(root)[0] if entry.kind == "file"}


def left(root: Path) -> dict[str, str]:
    return dict(walk(root)[1])


@settings(max_examples=60)
@given(top=st.lists(_PATTERNS, max_size=5), nested=st.lists(_PATTERNS, max_size=3))
@example(top=[], nested=["**/*/**"])
@example(top=["**/b/**", "!b/b"], nested=[])
def test_the_decisions_are_gits(tmp_path_factory: pytest.TempPathFactory, top: list[str], nested: list[str]) -> None:
    # `x/**/` is the one form that pathspec reads otherwise: it also takes the folder x itself.
    top, nested = ([line for line in lines if not line.endswith("**/")] for lines in (top, nested))
    root = tmp_path_factory.mktemp("tree")
    for name in _FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / ".gitignore").write_text("\n".join(top) + "\n")
    (root / "b" / ".gitignore").write_text("\n".join(nested) + "\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard", "-z"], check=True, capture_output=True
    )
    assert kept(root) == set(filter(None, listed.stdout.decode().split("\0")))


def test_files_in_every_folder_and_both_kinds_count(tree: Tree) -> None:
    root = tree({
        ".gitignore": "*.log\n/out\n", "a.log": "", "out/x": "", "sub/out/x": "",
        "sub/.gitignore": "!keep.log\ndata/\n", "sub/keep.log": "", "sub/data/x": "", "sub/deep/data/x": "",
        ".launcherignore": "big/**\n!out/\n", "big/a/b": "",
    })  # fmt: skip
    assert kept(root) == {
        ".gitignore", ".launcherignore", "out/x", "sub/.gitignore", "sub/keep.log", "sub/out/x",
    }  # fmt: skip
    assert left(root)["a.log"] == ".gitignore: *.log"
    assert left(root)["big/a/"] == ".launcherignore: big/**"


def test_a_changed_ignore_file_counts_at_once(tree: Tree) -> None:
    root = tree({"a.txt": "", "b.txt": "", ".gitignore": "a.txt\n"})
    assert "a.txt" not in kept(root)
    for text in ("b.txt\n", "a.txt\n", ""):
        (root / ".gitignore").write_text(text)
        paths = kept(root)
        assert ("a.txt" in paths, "b.txt" in paths) == (text != "a.txt\n", text != "b.txt\n")


def test_the_ignore_files_of_the_checkout_around_the_root_count(tree: Tree) -> None:
    member = {"member/a.log": "", "member/data": "", "member/x": ""}
    root = tree({".git/HEAD": "", ".gitignore": "*.log\n/member/data\n", **member})
    assert kept(root / "member") == {"x"}


@pytest.mark.parametrize(
    "name",
    [
        ".venv/bin/python", "node_modules/x/y.js", "pkg/__pycache__/m.cpython-311.pyc", ".mypy_cache/x",
        ".pytest_cache/x", "old.pyc", "env/pyvenv.cfg", "cache/CACHEDIR.TAG",
    ],
)  # fmt: skip
def test_environments_and_caches_are_never_sent(tree: Tree, name: str) -> None:
    root = tree({"keep": "", name: "", ".launcherignore": "!.venv/\n!node_modules/\n!**\n!*.pyc\n"})
    assert kept(root) == {"keep", ".launcherignore"}


@pytest.mark.parametrize(
    "name",
    [
        ".env", ".env.local", "deploy/key.pem", "id_rsa", "id_ed25519.pub", "id_github", ".netrc", ".npmrc", ".pypirc",
        "kaggle.json", "infra/terraform.tfstate", "terraform.tfstate.backup", "prod.tfvars", ".aws/credentials",
        ".config/gcloud/x", ".ssh/config", "Cert.PEM",
    ],
)  # fmt: skip
def test_what_looks_like_a_credential_needs_its_name_in_launcherignore(tree: Tree, name: str) -> None:
    root = tree({name: "", ".gitignore": f"!{name}\n", ".launcherignore": "!*\n!**\n"})
    assert name not in kept(root)
    assert "credential-shaped" in left(root).values()
    top = name.split("/")[0] + "/\n!" if name.startswith((".aws", ".ssh")) else ""
    (root / ".launcherignore").write_text(f"!{top}{name}\n!gcloud\n")
    assert name in kept(root)


@pytest.mark.parametrize("name", ["id_mapping.py", "environment.py", "pem.py", "keys/a.py", "monkey", "tfstate.md"])
def test_ordinary_names_are_no_credentials(name: str) -> None:
    assert not is_credential(name)


def test_version_control_data_goes_only_when_asked_for(tree: Tree) -> None:
    root = tree({".git/HEAD": "x", "a": ""})
    assert kept(root) == {"a"} and left(root) == {".git/": "version control data"}
    (root / ".launcherignore").write_text("!.git\n")
    assert ".git/HEAD" in kept(root)


def test_a_malformed_pattern_is_ignored_in_gits_file_and_named_in_ours() -> None:
    assert [line.text for line in parse("a\\\nb\n", "sub/.gitignore")] == ["b"]
    with pytest.raises(PackagingError, match=r"sub/\.launcherignore:2"):
        parse("b\na\\\n", "sub/.launcherignore")


def test_the_reason_names_the_pattern() -> None:
    rules = Rules(None, git=parse("*.o\nbuild/\n", ".gitignore"))
    assert rules.why_not("x/y.o") == ".gitignore: *.o"
    assert rules.why_not("x/build/") == ".gitignore: build/"
    assert rules.why_not("x/build") is None
