"""A whole call: what leaves a user's process, and what a worker makes of it. More of it: tests/e2e/test_packing.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError, PackagingError
from launcher.shipping import describe, pack, upload
from launcher.shipping import environment as environment_module
from tests.shipping.conftest import MemoryBucket, Tree

REPOSITORY = Path(__file__).parents[2]


class Person:
    """Somebody with a project, who runs Python there; and the worker on which the call then runs."""

    def __init__(self, tmp_path: Path, cache: Path) -> None:
        self._carry = tmp_path / "carry"
        self._carry.mkdir()
        self._env = {
            **os.environ,
            "CARRY": str(self._carry),
            "LAUNCHER_CACHE_DIR": str(cache),
            "HOME": str(tmp_path / "home"),
        }
        self._tmp_path = tmp_path

    def run(self, root: Path, *arguments: str, folder: str = ".", path: str = "") -> dict[str, Any]:
        """Runs Python with these arguments; what `carry` packed."""
        places = [path, str(REPOSITORY)] if path else [str(REPOSITORY)]
        env = {**self._env, "PYTHONPATH": os.pathsep.join(places)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root / folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        described: dict[str, Any] = json.loads((self._carry / "call.json").read_text())
        return described

    def worker(self) -> Any:
        """The call's result on a worker, where the project has never been."""
        env = {name: value for name, value in self._env.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "carry.py"), str(self._carry)],
            cwd=self._tmp_path, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout) if done.stdout[:1] in '[{"0123456789' else done.stdout


@pytest.fixture
def person(tmp_path: Path, warm_cache: Path, index: Path) -> Person:
    return Person(tmp_path, warm_cache)


CARRY = "from tests.shipping.carry import carry\n"
HELPER = "def double(x):\n    return 2 * x\n"


def test_a_package_and_the_current_folder(person: Person, tree: Tree) -> None:
    code = CARRY + "from .helper import double\ndef f(x): return double(x), open('data.txt').read()\n"
    root = tree(
        {
            "pyproject.toml": "",
            "pkg/__init__.py": "",
            "pkg/helper.py": HELPER,
            "data/data.txt": "here",
            "pkg/job.py": code + "if __name__ == '__main__': carry(f, 4)\n",
        }
    )
    described = person.run(root, "-m", "pkg.job", folder="data", path=str(root))
    assert described["cwd"] == "data" and described["client_root"] == str(root)
    assert person.worker() == [8, "here"]


def test_a_lone_script_goes_without_its_neighbours_and_says_so(person: Person, tree: Tree) -> None:
    root = tree(
        {
            "job.py": CARRY + "import helper\ndef f(x): return __import__('os').listdir()\ncarry(f, 1)\n",
            "helper.py": HELPER,
            "secret.txt": "x",
        }
    )
    notices = person.run(root, "job.py")["notices"]
    assert any(notice.startswith("only job.py is sent: no project around it") for notice in notices)
    assert person.worker() == ["job.py"]


def test_a_module_that_stays_here_is_named(person: Person, tree: Tree) -> None:
    root = tree(
        {"job.py": CARRY + "import helper\ndef f(x): return helper.double(x)\ncarry(f, 1)\n", "helper.py": HELPER}
    )
    notices = person.run(root, "job.py")["notices"]
    assert any("not sent: module helper" in notice and "requirements.txt" in notice for notice in notices)


def test_outside_of_a_project_only_the_function_travels(person: Person, tree: Tree) -> None:
    described = person.run(tree({"x.txt": ""}), "-c", CARRY + "carry(lambda x: x + 1, 1)")
    assert described["import_paths"] == [] and described["client_root"] == "" and described["cwd"] == "."
    assert described["notices"][0].startswith("only the function itself is sent")
    assert person.worker() == 2


def test_a_traceback_names_file_and_line(person: Person, tree: Tree) -> None:
    root = tree(
        {
            "setup.py": "",
            "helper.py": "def bad(x):\n    raise ValueError(x)\n",
            "job.py": CARRY + "import helper\ndef f(x):\n    return helper.bad(x)\ncarry(f, 'oops')\n",
        }
    )
    person.run(root, "job.py")
    text = person.worker()
    assert f'File "{root}/job.py", line 4, in f' in text
    assert "helper.py" in text and "line 2, in bad" in text and "ValueError: oops" in text


def identity(*args: Any) -> Any:
    return args


Options = dict[str, Any]


@pytest.fixture
def options(index: Path, warm_cache: Path, tree: Tree) -> Options:
    """A project without anything special."""
    return {"cache_dir": warm_cache, "project_root": tree({"a.py": "a = 1\n", "sub/b.py": ""})}


def test_a_call_says_all_that_a_job_record_needs(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_KEY", "a-secret-value")
    (options["project_root"] / ".env").write_text("x")
    with pack(identity, (1,), capture_env_vars=["DEMO_*", "NOTHING_*"], **options) as packed:
        assert packed.python == f"{sys.version_info.major}.{sys.version_info.minor}"
        assert packed.secrets == {"DEMO_KEY": "a-secret-value"}
        assert "a-secret-value" not in repr(packed)
        assert packed.archive is not None and packed.lock_cpu == packed.lock_tpu
        assert any("'NOTHING_*' matches no environment variable" in notice for notice in packed.notices)
        assert any(notice.startswith("left out: .env (credential-shaped") for notice in packed.notices)


def test_uploading_twice_sends_nothing_the_second_time(options: Options, bucket: MemoryBucket) -> None:
    with pack(identity, (1,), **options) as packed:
        sent = upload(packed, bucket, "ada", endpoint="twice")  # type: ignore[arg-type]
        assert sent == sum(map(len, bucket.objects.values())) and len(bucket.objects) == 4
    with pack(identity, (1,), **options) as packed:
        assert upload(packed, bucket, "ada", endpoint="twice") == 0  # type: ignore[arg-type]
    assert len(bucket.sent) == 4
    with pack(identity, (2,), **options) as packed:
        assert upload(packed, bucket, "ada", endpoint="twice") == packed.payload.blob.size  # type: ignore[arg-type]


def test_a_remembered_archive_that_another_bucket_needs_is_made_again_and_nothing_stays_open(
    options: Options, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_ns = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr("launcher.shipping.archive.time.time_ns", lambda: later_ns)
    pack(identity, **options).close()
    before = open_files()
    steps: list[str] = []
    with pack(identity, on_step=steps.append, **options) as packed:
        upload(packed, bucket, "ada", endpoint="another")  # type: ignore[arg-type]
        assert steps == [] and packed.archive is not None
        assert f"owners/ada/blobs/{packed.archive.blob.sha256}" in bucket.objects
    assert open_files() == before


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []


def test_a_current_folder_that_is_not_sent_is_told(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pack(identity, **options) as packed:
        assert packed.cwd == "."
        assert any(f"the current folder {tmp_path} is not sent" in notice for notice in packed.notices)
    monkeypatch.chdir(options["project_root"] / "sub")
    with pack(identity, **options) as packed:
        assert packed.cwd == "sub" and not any("current folder" in notice for notice in packed.notices)


def test_an_unchanged_project_is_submitted_without_opening_a_file(person: Person, tree: Tree) -> None:
    """Counted by the interpreter itself: every open() in the process, uv not started."""
    files: dict[str, str | bytes] = {f"d{number % 40}/f{number}.py": "x = 1\n" for number in range(2000)}
    code = """
        import os, sys, json, time
        from launcher.shipping import pack
        def f(x): return x
        opened, recording = [], False
        def watch(event, args):
            if recording and event in ("open", "subprocess.Popen", "os.posix_spawn"):
                opened.append(str(args[0]))
        sys.addaudithook(watch)
        root = os.getcwd()
        deadline = time.monotonic() + 30
        while True:
            opened.clear(); recording = True
            pack(f, (1,)).close()
            recording = False
            inside = [path for path in opened if path.startswith(root) and not path.endswith("pyproject.toml")]
            # files that were written a moment ago are read once more, as long as their times prove nothing
            if not inside or time.monotonic() > deadline:
                break
        json.dump({"inside": inside, "opened": opened, "notices": []}, open(os.environ["CARRY"] + "/call.json", "w"))
    """
    root = tree({"pyproject.toml": "[project]\nname = 'x'\nversion = '1'\ndependencies = ['arrays']\n", **files})
    (root / "job.py").write_text(textwrap.dedent(code))
    seen = person.run(root, "job.py")
    assert seen["inside"] == []
    assert len(seen["opened"]) <= 9, seen["opened"]  # declarations, what is remembered, the payload


def test_submissions_at_once_do_not_disturb_each_other(options: Options, bucket: MemoryBucket) -> None:
    gate = threading.Barrier(6)
    sent: list[int] = []
    problems: list[BaseException] = []

    def submit(number: int) -> None:
        gate.wait()
        try:
            with pack(identity, (number,), **options) as packed:
                sent.append(upload(packed, bucket, "ada", endpoint="at once"))  # type: ignore[arg-type]
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(bucket.sent) == len(set(bucket.sent)) == 6 + 3  # payloads; archive, lock and uv once
    assert sum(sent) == sum(map(len, bucket.objects.values()))


def _unpicklable(options: Options) -> Any:
    return pack(identity, (threading.Lock(),), **options)


def _too_large(options: Options) -> Any:
    return pack(identity, max_archive_bytes=5, **options)


def _unresolvable(options: Options) -> Any:
    return pack(identity, dependencies=["no-such-package"], **options)


def _captured(options: Options) -> Any:
    (options["project_root"] / "a.py").write_text("key = 'value-of-demo-key'")
    return pack(identity, capture_env_vars=["DEMO_KEY"], **options)


def _in_a_requirement(options: Options) -> Any:
    return pack(identity, capture_env_vars=["DEMO_PIN"], dependencies=["arrays==1.0"], **options)


def _in_the_plain_environment(options: Options) -> Any:
    return pack(identity, capture_env_vars=["DEMO_KEY"], env={"COPY": "x value-of-demo-key"}, **options)


@pytest.mark.parametrize(
    "attempt, message",
    [
        (_unpicklable, "argument 1"), (_too_large, "the limit is 5 bytes"), (_unresolvable, "no-such-package"),
        (_captured, r"captured variable DEMO_KEY is in a\.py"),
        (_in_a_requirement, "captured variable DEMO_PIN is in the locked requirements"),
        (_in_the_plain_environment, r"captured variable DEMO_KEY is in env=\{'COPY'"),
    ],
)  # fmt: skip
def test_a_refused_call_leaves_nothing_behind(
    options: Options, attempt: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_KEY", "value-of-demo-key")
    monkeypatch.setenv("DEMO_PIN", "arrays==1.0")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = open_files()
    with pytest.raises(PackagingError, match=message) as caught:
        attempt(options)
    assert "value-of-demo-key" not in str(caught.value)
    assert list(scratch.iterdir()) == []
    assert open_files() == before


def test_a_python_that_no_worker_has_is_refused_first(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "PYTHON_MINORS", ("3.8",))
    with pytest.raises(ConfigError, match=r"workers can have 3\.8"):
        pack(identity, (threading.Lock(),), **options)


def test_the_listing_shows_what_goes_and_why_the_rest_stays(tree: Tree) -> None:
    root = tree(
        {"a.py": "12345", "big.bin": b"x" * 1000, ".gitignore": "*.log\n", "x.log": "", ".venv/y": "", "id_rsa": ""}
    )
    (root / "setup.py").write_text("")
    listing = describe(root / "a.py")
    assert listing.root == root and not listing.lone
    assert {entry.path: entry.size for entry in listing.files} == {
        "a.py": 5,
        "big.bin": 1000,
        ".gitignore": 6,
        "setup.py": 0,
    }
    assert listing.total_bytes == 1011
    assert {item.path: item.why for item in listing.left_out} == {
        "x.log": ".gitignore: *.log", ".venv/": "cache, never sent", "id_rsa": "credential-shaped",
    }  # fmt: skip


def test_the_listing_of_a_lone_script_and_of_nothing(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree({"a.py": "12345", "b.py": ""})
    assert [entry.path for entry in describe(root / "a.py").files] == ["a.py"]
    monkeypatch.chdir(root)
    assert describe().root is None and describe().files == []
    with pytest.raises(PackagingError, match="no such file or folder"):
        describe(tmp_path / "gone")
