from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import project
from launcher.shipping.project import MARKERS, find_root, locate, place_of, where
from launcher.shipping.walk import walk
from tests.shipping.conftest import Tree


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("as_folder", [False, True])
def test_the_nearest_marker_is_the_root(tree: Tree, marker: str, as_folder: bool) -> None:
    root = tree({"a/b/x.py": "", "requirements.txt": "", f"a/{marker}{'/' if as_folder else ''}": ""})
    assert find_root(root / "a" / "b") == root / "a"


def test_home_temporary_folders_and_the_top_are_never_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, at in (("HOME", "home"), ("TMPDIR", "tmp")):
        folder = tmp_path / at
        (folder / "x" / "y").mkdir(parents=True)
        (folder / "pyproject.toml").write_text("")
        (folder / ".git").mkdir()
        assert find_root(folder / "x") == folder
        monkeypatch.setenv(variable, str(folder))
        monkeypatch.setattr("tempfile.tempdir", None)
        assert find_root(folder / "x") is None
        assert find_root(folder) is None
        (folder / "x" / "setup.py").write_text("")
        assert find_root(folder / "x" / "y") == folder / "x"
    (tmp_path / ".git").mkdir()
    assert find_root(tmp_path / "home" / "y") is None  # nor what is above a home folder
    assert find_root(Path("/")) is None


def test_a_lone_script_is_sent_by_itself_and_says_so(tree: Tree) -> None:
    root = tree({"job.py": "", "neighbour.py": ""})
    place = place_of(root / "job.py")
    assert (place.root, place.lone) == (root, "job.py")
    assert place.why.startswith("only job.py is sent: no project around it")
    assert place_of(root).root is None


def test_a_linked_script_belongs_where_python_imports_from(tree: Tree, tmp_path: Path) -> None:
    root = tree({"job.py": "", "pyproject.toml": ""})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "job").symlink_to(root / "job.py")
    assert place_of(tmp_path / "bin" / "job").root == root


@pytest.mark.parametrize("root", ["/", "~", "missing"])
def test_a_project_root_that_cannot_be_one(root: str) -> None:
    with pytest.raises(ConfigError, match="project_root"):
        locate(print, root)


def module(name: str, file: Path | None) -> types.ModuleType:
    made = types.ModuleType(name)
    if file is not None:
        made.__file__ = str(file)
    exec("def f(): pass\nclass C:\n    def m(self): pass\n    def __call__(self): pass\n", made.__dict__)
    return made


def test_the_root_is_the_functions_not_the_current_folders(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"pyproject.toml": "", "pkg/m.py": "", "other/requirements.txt": ""})
    made = module("m_of_this_test", root / "pkg" / "m.py")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.chdir(root / "other")
    functions: list[Any] = [made.f, made.C().m]
    assert [locate(function).root for function in functions] == [root] * 2
    typed = module("__main__", None)
    monkeypatch.setitem(sys.modules, "__main__", typed)
    assert locate(typed.f).root == root / "other"
    assert locate(os.path.join).root == root / "other"  # installed, not somebody's project


def test_a_package_without_a_project_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"pkg/m.py": ""})
    made = module("pkg_of_this_test.m", root / "pkg" / "m.py")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    with pytest.raises(PackagingError, match=r"part of the package pkg_of_this_test, .*touch requirements\.txt"):
        locate(made.f)


def test_import_paths_are_those_of_this_python_inside_the_root(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({
        "src/pkg/m.py": "", "scripts/x.py": "", "lib.zip": "", ".venv/lib/site-packages/": "",
        "finder/mapped/__init__.py": "", "finder/single.py": "", "elsewhere/renamed/__init__.py": "",
    })  # fmt: skip
    entries = walk(root)[0]
    monkeypatch.chdir(root)
    paths = [str(root / "scripts"), "", str(root / "src"), str(root / "lib.zip"), str(root / ".venv/lib/site-packages")]
    monkeypatch.setattr(sys, "path", [*paths, "/usr/lib/python3", str(root / "src")])
    finder = types.ModuleType("__editable___demo_finder")
    mapping = {"mapped": "finder/mapped", "single": "finder/single.py", "other": "elsewhere/renamed"}
    finder.__dict__["MAPPING"] = {name: str(root / path) for name, path in mapping.items()}
    exec("class F: pass", finder.__dict__)
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder.F])
    assert where(root, entries)[1] == ("scripts", ".", "src", "lib.zip", "finder")


def test_the_current_folder_is_the_same_place(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"data/deep/": "", "node_modules/x/": ""})
    (tmp_path / "linked").symlink_to(root)
    entries = walk(root)[0]
    for folder, expected in (("data/deep", "data/deep"), (".", "."), ("node_modules/x", None), ("..", None)):
        monkeypatch.chdir(root / folder)
        assert where(tmp_path / "linked", entries)[0] == expected


def test_editable_installs_are_found_in_a_real_interpreter(tree: Tree, tmp_path: Path) -> None:
    """A .pth file, as most build tools write for an editable install."""
    root = tree({"pyproject.toml": "", "src/pkg/__init__.py": ""})
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "pkg.pth").write_text(f"{root / 'src'}\n")
    script = f"""
        import site, sys
        site.addsitedir({str(packages)!r})
        from pathlib import Path
        from launcher.shipping.project import where
        from launcher.shipping.walk import walk
        root = Path({str(root)!r})
        print(where(root, walk(root)[0])[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == "('src',)\n"


def test_modules_that_are_not_sent_are_named(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"pkg/__init__.py": "", "pkg/m.py": "", "made/here.py": "", ".gitignore": "made/\n", "setup.py": ""})
    (tmp_path / "outside.py").write_text("")
    files = {
        "pkg": root / "pkg/__init__.py",
        "pkg.m": root / "pkg/m.py",
        "here": root / "made/here.py",
        "outside": tmp_path / "outside.py",
        "os": Path(os.__file__),
    }
    for name, file in files.items():
        monkeypatch.setitem(sys.modules, name, module(name, file))
    entries = walk(root)[0]
    named = [line.partition(" (")[0] for line in project.unsent_modules(files, root, entries)]
    assert named == ["not sent: module here", "not sent: module outside"]
    assert len(list(project.unsent_modules(files, None, []))) == 4
