from __future__ import annotations

import pickle
import threading

import pytest

from tests.agent.worker import Worker


def test_an_exception_comes_back_as_itself_with_the_clients_file_names(worker: Worker) -> None:
    def call() -> None:
        import module

        try:
            module.divide(1)
        except ZeroDivisionError as exc:
            raise KeyError("outer") from exc

    files = {"module.py": "def divide(by):\n    return by / 0  # a line of the project\n"}
    attempt = worker.call(call, files=files, import_paths=(".",), client_root="/home/user/project")
    report = attempt.report()
    assert report.error is not None
    error = report.error
    assert (error.kind, error.type_name, error.base, error.message) == ("exception", "KeyError", "KeyError", "'outer'")
    assert 'File "/home/user/project/module.py", line 2, in divide' in error.traceback
    assert "return by / 0  # a line of the project" in error.traceback
    assert "ZeroDivisionError" in error.traceback and "The above exception was the direct cause" in error.traceback
    assert "launcher/agent" not in error.traceback and "runner" not in error.traceback
    exc = attempt.pickled(report)
    assert type(exc) is KeyError and exc.args == ("outer",)


def test_source_lines_are_shown_for_functions_that_came_by_value(worker: Worker) -> None:
    source = "\n\ndef main():\n    raise ValueError('here')  # shown\n"
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, "/home/user/project/train.py", "exec"), space)
    report = worker.call(space["main"], files={"train.py": source}, client_root="/home/user/project").report()
    assert report.error is not None
    assert 'File "/home/user/project/train.py", line 4, in main' in report.error.traceback
    assert "raise ValueError('here')  # shown" in report.error.traceback


def test_constructors_with_other_arguments_and_attributes_that_cannot_be_pickled(worker: Worker) -> None:
    class TwoArguments(ValueError):
        def __init__(self, code: int, words: str) -> None:
            super().__init__(f"{code}: {words}")
            self.code = code

    class Doubling(Exception):
        def __init__(self, words: str) -> None:
            super().__init__(f"message: {words}")

    def fail(which: int) -> None:
        if which == 0:
            raise TwoArguments(7, "words")
        if which == 1:
            raise Doubling("once")
        exc = LookupError("with a lock")
        exc.lock = threading.Lock()  # type: ignore[attr-defined]
        raise exc

    attempt = worker.call(fail, 0)
    exc = attempt.pickled(attempt.report())
    assert type(exc).__name__ == "TwoArguments" and str(exc) == "7: words" and exc.code == 7
    attempt = worker.call(fail, 1)
    assert str(attempt.pickled(attempt.report())) == "message: once"
    attempt = worker.call(fail, 2)
    exc = attempt.pickled(attempt.report())
    assert type(exc) is LookupError and exc.args == ("with a lock",)


def test_a_type_that_only_the_worker_has_still_tells_its_text(worker: Worker) -> None:
    def fail() -> None:
        import remote_only

        raise remote_only.Trouble("far away")

    files = {"remote_only.py": "class Trouble(OSError):\n    pass\n"}
    attempt = worker.call(fail, files=files, import_paths=(".",))
    report = attempt.report()
    error = report.error
    assert error is not None and (error.type_name, error.base) == ("remote_only.Trouble", "OSError")
    assert error.message == "far away" and "remote_only.Trouble: far away" in error.traceback
    with pytest.raises(ModuleNotFoundError, match="remote_only"):
        attempt.pickled(report)


def test_an_exception_without_a_usable_message_is_reported(worker: Worker) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail() -> None:
        raise Mute

    error = worker.call(fail).report().error
    assert error is not None and error.type_name.endswith("Mute") and "cannot be shown" in error.message


def test_a_keyboard_interrupt_is_text_only(worker: Worker) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    report = worker.call(fail).report()
    assert report.error is not None and report.error.type_name == "KeyboardInterrupt" and report.sha256 == ""


def test_a_missing_package_is_the_users_own_error(worker: Worker) -> None:
    report = worker.call(pickle.loads, b"cnot_installed_here\nf\n.").report()
    assert report.error is not None and report.error.type_name == "ModuleNotFoundError"
    assert "not_installed_here" in report.error.message


def test_a_result_that_cannot_be_pickled_is_named_and_the_log_kept(worker: Worker) -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = [1, threading.Lock()]

    def produce() -> dict[str, object]:
        print("trained")
        return {"loss": 0.1, "model": Model()}

    attempt = worker.call(produce)
    report = attempt.report()
    assert report.error is not None and report.error.kind == "JobError" and report.sha256 == ""
    assert "result['model'].weights[1] is of type _thread.lock" in report.error.message
    assert attempt.log == b"trained\n"


def test_a_huge_result_is_refused_before_the_upload(worker: Worker) -> None:
    attempt = worker.call(bytes, 2_000_000, max_result_bytes=1_000_000)
    report = attempt.report()
    assert report.error is not None and "limit of 1000000 bytes" in report.error.message
    assert attempt.names.result(1) not in worker.google.objects
    assert not (attempt.folder / "result.pkl").exists()


def test_jax_arrays_are_written_as_numpy_at_any_depth(worker: Worker, numpy_lock: bytes) -> None:
    def produce() -> object:
        import jax

        return {"deep": [jax.Array([1.5, 2.5])]}

    jax = "import numpy\nclass Array:\n    def __init__(self, data): self.data = data\n"
    jax += "    def __array__(self, *a, **k): return numpy.array(self.data)\n"
    lock = worker.upload(numpy_lock)
    attempt = worker.call(produce, files={"jax.py": jax}, import_paths=(".",), lock_cpu=lock)
    attempt.report()
    data = worker.google.get(attempt.names.result(1))
    assert b"jax" not in data and b"numpy" in data
