from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import environment, uv
from launcher.shipping.cache import Cache
from launcher.shipping.environment import Locks, check_python, cloudpickle_pin, lock
from tests.packages import wheel
from tests.shipping.conftest import Tree

PYTHON = "3.12"  # not this interpreter's: a lock is for the one that is asked for
JAX_TOML = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["jax==0.10.2"]\n'


class Locker:
    """Locks projects; `ran` holds the arguments of every run of uv."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = cache
        self.ran: list[Sequence[str]] = []
        self.steps: list[str] = []
        real = uv.run

        def run(arguments: Sequence[str], *rest: Any) -> str:
            self.ran.append(arguments)
            return real(arguments, *rest)

        monkeypatch.setattr(uv, "run", run)

    def lock(self, root: Path | None, dependencies: Sequence[str] | None = None, python: str = PYTHON) -> Locks:
        self.ran.clear()
        return lock(root, dependencies, python, self.cache, self.steps.append)


@pytest.fixture
def locker(cache: Cache, index: Path, monkeypatch: pytest.MonkeyPatch) -> Locker:
    return Locker(cache, monkeypatch)


def names(text: str) -> dict[str, str]:
    """Versions by name."""
    lines = [line.partition(" ")[0] for line in text.splitlines() if not line.startswith(" ")]
    return dict(line.split("==") for line in lines)


RUNNER = dict([cloudpickle_pin().split("==")])
CPU = {"jax": "0.10.2", "arrays": "2.0", **RUNNER}
TPU = {**CPU, "libtpu": "0.1"}


def test_jax_gets_its_tpu_extra_in_the_same_versions(locker: Locker, index: Path) -> None:
    locks = locker.lock(None, ["jax", "arrays<2"])
    assert names(locks.cpu) == {**CPU, "arrays": "1.0"}
    assert names(locks.tpu) == {**TPU, "arrays": "1.0"}
    for line in locks.tpu.splitlines():
        assert line.startswith("    --hash=sha256:") or "==" in line
    digest = hashlib.sha256((index / "libtpu-0.1-py3-none-any.whl").read_bytes()).hexdigest()
    assert f"libtpu==0.1 \\\n    --hash=sha256:{digest}\n" in locks.tpu


def test_without_jax_both_are_the_same(locker: Locker) -> None:
    locks = locker.lock(None, ["arrays"])
    assert names(locks.cpu) == {"arrays": "2.0", **RUNNER} and locks.tpu == locks.cpu


def test_nothing_declared_is_the_runners_own_need(locker: Locker, tree: Tree) -> None:
    assert names(locker.lock(None).cpu) == RUNNER
    assert names(locker.lock(tree({"pyproject.toml": "[tool.x]\n"})).cpu) == RUNNER
    assert names(locker.lock(None, []).cpu) == RUNNER


def uv_lock(root: Path) -> None:
    """A lock as uv writes it, for a private index that cannot be reached."""
    zeros, ones = "0" * 64, "1" * 64
    packages = f"""
        [[package]]
        name = "arrays"
        version = "1.0"
        source = {{ registry = "https://index.invalid/simple" }}
        wheels = [{{ url = "https://index.invalid/arrays-1.0-py3-none-any.whl", hash = "sha256:{zeros}" }}]

        [[package]]
        name = "cloudpickle"
        version = "2.0.0"
        source = {{ registry = "https://index.invalid/simple" }}
        wheels = [{{ url = "https://index.invalid/cloudpickle-2.0.0-py3-none-any.whl", hash = "sha256:{zeros}" }}]

        [[package]]
        name = "jax"
        version = "0.9.0"
        source = {{ registry = "https://index.invalid/simple" }}
        dependencies = [{{ name = "arrays" }}]
        wheels = [{{ url = "https://index.invalid/jax-0.9.0-py3-none-any.whl", hash = "sha256:{ones}" }}]

        [[package]]
        name = "demo"
        version = "1"
        source = {{ virtual = "." }}
        dependencies = [{{ name = "jax" }}, {{ name = "cloudpickle" }}]

        [package.metadata]
        requires-dist = [{{ name = "jax" }}, {{ name = "cloudpickle" }}]
    """
    head = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
    (root / "uv.lock").write_text(head + "\n".join(line.strip() for line in packages.splitlines()))


def test_the_projects_own_lock_keeps_its_versions_and_hashes(locker: Locker, tree: Tree) -> None:
    root = tree({"pyproject.toml": JAX_TOML, "requirements.txt": "arrays==2.0\n"})
    uv_lock(root)
    locks = locker.lock(root)
    assert names(locks.cpu) == {"jax": "0.9.0", "arrays": "1.0", **RUNNER}
    assert names(locks.tpu) == {"jax": "0.9.0", "arrays": "1.0", "libtpu": "0.1", **RUNNER}
    for text in (locks.cpu, locks.tpu):
        assert f"jax==0.9.0 \\\n    --hash=sha256:{'1' * 64}\n" in text
        assert "index.invalid" not in text


def test_the_order_of_declarations(locker: Locker, tree: Tree) -> None:
    root = tree({"pyproject.toml": JAX_TOML})
    assert names(locker.lock(root).cpu) == CPU
    (root / "requirements.txt").write_text("arrays==1.0\n")
    assert names(locker.lock(root).cpu) == {"arrays": "1.0", **RUNNER}
    uv_lock(root)
    assert names(locker.lock(root).cpu)["jax"] == "0.9.0"
    assert names(locker.lock(root, ["libtpu"]).cpu) == {"libtpu": "0.1", "arrays": "2.0", **RUNNER}


def test_a_requirements_file_with_all_that_it_may_hold(locker: Locker, tree: Tree) -> None:
    root = tree({
        "requirements.txt": "-r more/a.txt\n-c limits.txt\n-e .\n./lib # ours\n", "more/a.txt": "jax # comment\n",
        "limits.txt": "arrays<2\njax<0.10\n", "pyproject.toml": JAX_TOML.replace("jax==0.10.2", "libtpu"),
        "lib/pyproject.toml": '[project]\nname = "lib"\nversion = "1"\ndependencies = ["arrays"]\n',
    })  # fmt: skip
    locks = locker.lock(root)
    assert names(locks.cpu) == {"jax": "0.9.0", "arrays": "1.0", "libtpu": "0.1", **RUNNER}
    assert [notice for notice in locks.notices if "lib is not installed" in notice] == list(locks.notices) != []
    (root / "lib" / "pyproject.toml").write_text('[project]\nname = "lib"\nversion = "1"\ndependencies = []\n')
    locker.lock(root)
    assert locker.ran  # what the local package declares is an input too


def test_an_unchanged_project_resolves_nothing(locker: Locker, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"pyproject.toml": JAX_TOML})
    first = locker.lock(root)
    assert locker.steps == ["locking the environment (pyproject.toml)"]
    (root / "pyproject.toml").write_text(JAX_TOML + "[tool.ruff]\nline-length = 100\n")
    monkeypatch.setattr("uv.find_uv_bin", lambda: "/nowhere/uv")
    assert locker.lock(root) == first and locker.ran == []


@pytest.mark.parametrize(
    "change",
    [
        lambda root, patch: (root / "pyproject.toml").write_text(JAX_TOML.replace("0.10.2", "0.9.0")),
        lambda root, patch: (root / "uv.toml").write_text("prerelease = 'allow'\n"),
        lambda root, patch: patch.setenv("UV_RESOLUTION", "lowest"),
        lambda root, patch: patch.setattr(uv, "version", lambda: "0.0.1"),
        lambda root, patch: patch.setattr(environment, "FORMAT", 99),
    ],
)
def test_every_input_counts(
    locker: Locker, tree: Tree, monkeypatch: pytest.MonkeyPatch, wheels: Path, change: Callable[..., Any]
) -> None:
    root = tree({"pyproject.toml": JAX_TOML})
    (root / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    monkeypatch.delenv("UV_CONFIG_FILE")
    locker.lock(root)
    locker.lock(root)
    assert locker.ran == []
    locker.lock(root, python="3.13")
    assert locker.ran
    change(root, monkeypatch)
    if not (root / "uv.toml").read_text().startswith("no-index"):
        (root / "uv.toml").write_text((root / "uv.toml").read_text() + f'no-index = true\nfind-links = ["{wheels}"]\n')
    locker.lock(root)
    assert locker.ran


def test_what_does_not_resolve_is_said_in_uvs_words(locker: Locker, tree: Tree) -> None:
    root = tree({"requirements.txt": "arrays==1.0\narrays==2.0\n"})
    with pytest.raises(
        PackagingError, match=r"(?s)requirements\.txt: .*cannot be locked.*arrays==1\.0.*arrays==2\.0"
    ) as caught:
        locker.lock(root)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(PackagingError, match="no-such-package"):
        locker.lock(None, ["no-such-package"])
    (root / "requirements.txt").write_text("arrays==1.0\n")
    assert names(locker.lock(root).cpu) == {"arrays": "1.0", **RUNNER}


def test_a_git_requirement_is_refused_with_the_fix(locker: Locker, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text('[project]\nname = "gitted"\nversion = "1"\n')
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    with pytest.raises(PackagingError, match=r"gitted @ git\+file.* has no hash.*archive by URL"):
        locker.lock(None, [f"gitted @ git+file://{repository}"])


def test_a_local_file_is_refused_with_the_fix(locker: Locker, tmp_path: Path) -> None:
    path = wheel(tmp_path, "vendored", "1.0")
    with pytest.raises(PackagingError, match=r"vendored-1\.0.*is a file on this machine"):
        locker.lock(None, [f"vendored @ file://{path}"])


@pytest.mark.parametrize("line", ["", "-r x.txt", "--index-url https://host", "a\nb", "# jax"])
def test_what_is_not_a_requirement(locker: Locker, line: str) -> None:
    with pytest.raises(ConfigError, match="is not a requirement"):
        locker.lock(None, [line])


def test_one_string_for_a_list(locker: Locker) -> None:
    with pytest.raises(ConfigError, match=r"Fix: dependencies=\['jax'\]"):
        locker.lock(None, "jax")


@pytest.mark.parametrize(
    "name, text",
    [
        ("requirements.txt", "x @ https://u:s3cret@host/x.whl\n"),
        ("requirements.txt", "-i https://u:s3cret@host/simple\n"),
        ("pyproject.toml", '[project]\nname="x"\nversion="1"\ndependencies=["x @ https://u:s3cret@host/x.whl"]\n'),
        ("uv.toml", '[[index]]\nurl = "https://u:s3cret@host/simple"\n'),
        ("uv.lock", 'source = { url = "https://u:s3cret@host/x.whl" }\n'),
    ],
)  # fmt: skip
def test_a_password_in_a_declaration_is_refused_before_uv_runs(
    locker: Locker, tree: Tree, name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_CONFIG_FILE")
    with pytest.raises(PackagingError, match=f"{name}: the URL .* contains a password") as caught:
        locker.lock(tree({name: text}))
    assert "s3cret" not in str(caught.value) and locker.ran == []


def test_an_index_with_credentials_stays_out_of_the_lock(
    locker: Locker, tree: Tree, monkeypatch: pytest.MonkeyPatch, wheels: Path
) -> None:
    root = tree({
        "requirements.txt": "--extra-index-url https://me:${TOKEN}@host.invalid/simple\njax\n",
        "uv.toml": f'no-index = true\nfind-links = ["{wheels}"]\n'
        '[[index]]\nname = "corp"\nurl = "https://corp.invalid/simple"\n'
        "[pip]\nemit-index-url = true\nemit-find-links = true\n",
    })  # fmt: skip
    monkeypatch.setenv("TOKEN", "s3cret")
    monkeypatch.setenv("UV_INDEX_CORP_PASSWORD", "s3cret2")
    monkeypatch.delenv("UV_CONFIG_FILE")
    locks = locker.lock(root)
    assert "invalid" not in locks.cpu + locks.tpu and str(wheels) not in locks.cpu
    assert locks.index_args == {
        "UV_INDEX": "https://me:s3cret@host.invalid/simple corp=https://corp.invalid/simple",
        "UV_INDEX_CORP_PASSWORD": "s3cret2",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert "s3cret" not in repr(locks)
    kept = [path.read_bytes() for path in locker.cache.root.rglob("*") if path.is_file()]
    assert kept and not any(b"s3cret" in data for data in kept)


def test_a_mirror_of_pythons_is_passed_on_to_the_workers(
    locker: Locker, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "https://mirror.invalid/python")
    locks = locker.lock(tree({"requirements.txt": "# nothing\n"}))
    assert locks.index_args["UV_PYTHON_INSTALL_MIRROR"] == "https://mirror.invalid/python"


def test_the_python_of_workers() -> None:
    assert check_python() == f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in ((3, 10), (3, 14), (4, 0)):
        with pytest.raises(ConfigError, match=rf"this is Python {version[0]}\.{version[1]}; workers can have 3\.11"):
            check_python(version)
