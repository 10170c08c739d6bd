from __future__ import annotations

import hashlib
import os
import platform
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

from launcher.records import paths
from launcher.records.jobs import Blob, Interpreter, JobStatus
from tests.agent.google import DROP, Google
from tests.agent.worker import Worker, lock_file, running
from tests.packages import PackageIndex, download, python_mirror, wheel


def tampered(worker: Worker, blob: Blob) -> None:
    name = paths.blob("ada", blob.sha256)
    data = worker.google.get(name)
    worker.google.put(name, bytes([data[0] ^ 1]) + data[1:])


def test_tampered_blobs_are_refused_by_name_and_nothing_of_them_runs(worker: Worker) -> None:
    spec = worker.spec(print, "ran", files={"secret_plan.py": ""})
    tampered(worker, spec.job.payload)
    attempt = worker.start(spec)
    error = attempt.report().error
    assert error is not None and "payload" in error.message and "tampered" in error.message
    assert spec.job.payload.sha256 in error.message and attempt.log == b""
    spec = worker.spec(print, "ran", files={"other_plan.py": ""})
    assert spec.job.archive is not None
    tampered(worker, spec.job.archive)
    error = worker.start(spec).report().error
    assert error is not None and "project archive" in error.message and "tampered" in error.message


def test_a_longer_blob_is_refused_before_it_fills_the_disk(worker: Worker) -> None:
    spec = worker.spec(print)
    worker.google.put(paths.blob("ada", spec.job.payload.sha256), b"x" * 1_000_000)
    error = worker.start(spec).report().error
    assert error is not None and "tampered" in error.message


def test_a_missing_blob_is_named(worker: Worker) -> None:
    spec = worker.spec(print)
    del worker.google.objects[paths.blob("ada", spec.job.payload.sha256)]
    error = worker.start(spec).report().error
    assert error is not None and "payload" in error.message and "missing" in error.message


def test_an_unsafe_archive_is_refused(worker: Worker) -> None:
    error = worker.call(print, files={"../outside.txt": "x"}).report().error
    assert error is not None and "../outside.txt" in error.message


def test_a_failed_install_ends_with_the_installers_words_and_leaves_nothing(worker: Worker) -> None:
    lock = worker.upload(b"no-such-package-of-anyone==99.9 --hash=sha256:" + b"0" * 64 + b"\n")
    attempt = worker.call(print, lock_cpu=lock, index_args={"UV_OFFLINE": "1"})
    report = attempt.report()
    assert report.error is not None and (report.error.kind, report.error.phase) == ("SetupError", "environment")
    assert "no-such-package-of-anyone" in report.error.message and attempt.log == b""
    assert not list((worker.home / ".launcher" / "envs").glob(f"{lock.sha256}*[!k]"))


def test_a_stop_during_the_install_ends_the_installer_and_leaves_nothing_finished(
    worker: Worker, tmp_path: Path
) -> None:
    hanging = tmp_path / "python3.99"
    hanging.write_text("#!/bin/sh\necho $$ > $0.pid\nexec sleep 1000\n")
    hanging.chmod(0o700)
    lock = worker.upload(b"# another environment\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    spec = worker.spec(print, lock_cpu=lock, python="3.99", index_args={"PATH": path})
    attempt = worker.start(spec)
    for _ in attempt.frames():
        if attempt.phases[-1].phase == "environment":
            break
    pid = hanging.with_name(hanging.name + ".pid")
    while not pid.exists() or not pid.read_text():
        assert attempt.process.poll() is None
    worker.stop(spec, "not needed")
    assert not running(int(pid.read_text()))
    report = attempt.report()
    assert report.status is JobStatus.CANCELLED
    assert report.error is not None and (report.error.message, report.error.phase) == ("not needed", "environment")
    assert not list((worker.home / ".launcher" / "envs").glob(f"{lock.sha256}*[!k]"))


def test_leftovers_of_a_killed_build_are_removed(worker: Worker) -> None:
    lock = worker.upload(lock_file(worker.home) + b"# once more\n")
    stale = worker.home / ".launcher" / "envs" / f"{lock.sha256}-{worker.spec(print).job.python}.tmp-1"
    stale.mkdir(parents=True)
    assert worker.call(abs, -1, lock_cpu=lock).value() == 1
    assert not stale.exists()


def test_the_environment_is_built_once(worker: Worker) -> None:
    def build() -> int:
        import sys

        return os.stat(sys.prefix).st_ino

    first = worker.call(build).value()
    attempt = worker.call(build)
    assert attempt.value() == first
    assert not (attempt.folder / "setup.log").exists()


def test_a_python_that_the_worker_lacks_is_installed_from_the_mirror(worker: Worker, tmp_path: Path) -> None:
    shutil.rmtree(worker.home / ".launcher" / "python", ignore_errors=True)  # of the test below
    lock = worker.upload(worker.google.get(paths.blob("ada", worker.lock.sha256)) + b"# with another Python\n")
    settings = python_mirror(tmp_path)
    assert worker.call(abs, -1, lock_cpu=lock, index_args=settings).value() == 1
    assert list((worker.home / ".launcher" / "python").glob(f"cpython-{platform.python_version()}-*"))


def test_a_python_that_was_sent_along_is_installed_where_there_is_none(worker: Worker, tmp_path: Path) -> None:
    shutil.rmtree(worker.home / ".launcher" / "python", ignore_errors=True)  # of the test above
    python_mirror(tmp_path)
    (archive,) = (tmp_path / "mirror").rglob("*.tar.gz")
    sent = Interpreter(platform.python_version(), worker.upload(archive.read_bytes()))
    lock = worker.upload(worker.google.get(paths.blob("ada", worker.lock.sha256)) + b"# with a Python sent along\n")
    # An own mirror of the worker's does not matter.
    settings = {
        "UV_MANAGED_PYTHON": "1",
        "UV_PYTHON_INSTALL_MIRROR": "https://mirror.invalid/",
    }  # as where the machine has no such Python
    assert worker.call(abs, -1, lock_cpu=lock, interpreter=sent, index_args=settings).value() == 1
    assert list((worker.home / ".launcher" / "python").glob(f"cpython-{platform.python_version()}-*"))


def test_packages_come_from_the_platforms_repository_with_the_workers_own_identity(
    worker: Worker, tmp_path: Path
) -> None:
    file = wheel(tmp_path, "only_inside", "1.0")
    only = f"only_inside==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"
    own_needs = worker.google.get(paths.blob("ada", worker.lock.sha256)).decode()
    download(own_needs, tmp_path)
    lock = worker.upload((own_needs + only).encode())
    with PackageIndex(tmp_path, token="secret-token") as index:
        assert worker.call(find_spec, "only_inside", lock_cpu=lock, python_index=index.url).value() is not None
        assert file.name in index.served
    other = worker.upload((own_needs + only).encode() + b"# again\n")
    with PackageIndex(tmp_path, token="another-token") as index:
        error = worker.call(find_spec, "only_inside", lock_cpu=other, python_index=index.url).report().error
    assert error is not None and error.kind == "SetupError" and "401" in error.message
    assert f"come from {index.url} alone" in error.message and "artifactregistry.reader" in error.message
    assert "secret-token" not in error.message


def test_a_python_that_cannot_be_had_is_a_setup_error(worker: Worker) -> None:
    lock = worker.upload(b"# for no Python\n")
    error = worker.call(abs, -1, lock_cpu=lock, python="3.99", index_args={"UV_OFFLINE": "1"}).report().error
    assert error is not None and error.kind == "SetupError" and "Python 3.99" in error.message


def test_outages_of_the_bucket_are_waited_out(worker: Worker, google: Google) -> None:
    spec = worker.spec(print, "still here")
    google.fail(lambda method, path: "/leases/" in path, 503)
    google.fail(lambda method, path: spec.job.payload.sha256 in path, DROP, times=2)
    google.fail(lambda method, path: method == "POST", 429, times=3)
    attempt = worker.start(spec)
    assert attempt.value() is None
    assert google.log(attempt.names.log_prefix(1, 0, 0)) == b"still here\n"


def test_a_lost_answer_does_not_make_two_outcomes(worker: Worker, google: Google) -> None:
    spec = worker.spec(abs, -1)
    names = paths.JobPaths("ada", spec.job.job_id)
    real_put = google.put

    def lose(name: str, data: bytes) -> int:
        generation = real_put(name, data)
        if name == names.outcome:
            google.put = real_put  # type: ignore[method-assign]
            raise ConnectionResetError
        return generation

    google.put = lose  # type: ignore[method-assign]
    # The server's thread dies of it without an answer; only this handler's connection is hit.
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        attempt = worker.start(spec)
        assert attempt.value() == 1
    finally:
        threading.excepthook = hook
        google.put = real_put  # type: ignore[method-assign]


def test_a_bucket_that_refuses_is_an_error_at_once(worker: Worker, google: Google) -> None:
    google.fail(lambda method, path: "/b/jobs/" in path, 403, times=10_000)
    attempt = worker.call(print)
    for _ in attempt.frames():
        pass
    assert attempt.outcome is None and "HTTP 403" in attempt.error


def test_no_metadata_server_is_said_clearly(worker: Worker, google: Google) -> None:
    google.fail(lambda method, path: path.startswith("/computeMetadata"), 404, times=10_000)
    attempt = worker.call(print)
    for _ in attempt.frames():
        pass
    assert attempt.outcome is None and "no metadata server answers" in attempt.error
