from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from launcher.records import codec, paths
from launcher.records.jobs import JobStatus, Outcome, WorkerStatus
from launcher.records.leases import LeaseState
from tests.agent.google import Google
from tests.agent.worker import Worker, running


def test_a_value_comes_back_signed_and_every_phase_is_told(worker: Worker, google: Google) -> None:
    def add(one: int, two: int) -> dict[str, int]:
        print("adding")
        return {"sum": one + two}

    attempt = worker.call(add, 1, 2)
    assert attempt.value() == {"sum": 3}
    assert attempt.log == b"adding\n"
    assert [s.phase for s in attempt.phases] == ["starting", "environment", "project", "running", "result", "done"]
    attempt.wait_for_end()  # the last status is written when the outcome is known
    status = codec.decode(WorkerStatus, google.get(attempt.names.worker(1, 0, 0)))
    assert (status.phase, status.exit_code, status.log_bytes) == ("done", 0, 7)
    assert set(status.timings_s) == {"starting", "environment", "project", "running", "result"}
    recorded = codec.decode(Outcome, google.get(attempt.names.outcome))
    assert recorded == attempt.outcome and recorded.status is JobStatus.SUCCEEDED


def test_log_and_result_are_in_the_bucket_before_the_outcome(worker: Worker, google: Google) -> None:
    attempt = worker.call(print, "x" * 3_000_000)
    attempt.report()
    order = list(google.objects)
    outcome = order.index(attempt.names.outcome)
    assert order.index(attempt.names.result(1)) < outcome
    assert all(order.index(name) < outcome for name in order if name.startswith(attempt.names.log_prefix(1, 0, 0)))
    assert google.log(attempt.names.log_prefix(1, 0, 0)) == attempt.log == b"x" * 3_000_000 + b"\n"


def test_output_is_verbatim_and_live(worker: Worker) -> None:
    def speak() -> None:
        print("[bold]not markup[/bold]", "50%", end="\r")
        print("on stderr", file=sys.stderr)
        os.write(1, b"\xff\x00\x1b[31m")
        subprocess.run(["sh", "-c", "printf again >/dev/stdout; printf end"], check=True)
        sys.stdin.read()  # there is none: it ends at once
        input_gone = not os.path.exists(os.environ["GO"])
        while input_gone:
            input_gone = not os.path.exists(os.environ["GO"])

    go = worker.home / "go"
    attempt = worker.call(speak, env={"GO": str(go)})
    attempt.until(b"end")
    go.touch()
    attempt.report()
    assert attempt.log == b"[bold]not markup[/bold] 50%\ron stderr\n\xff\x00\x1b[31magainend"
    go.unlink()


@pytest.mark.parametrize("code", [None, 0])
def test_exit_without_an_error_succeeds_with_none(worker: Worker, code: int | None) -> None:
    assert worker.call(sys.exit, code).value() is None


def test_exit_codes_are_errors_with_that_code(worker: Worker) -> None:
    error = worker.call(sys.exit, 3).report().error
    assert error is not None and (error.kind, error.exit_code) == ("JobError", 3) and "sys.exit(3)" in error.message
    error = worker.call(os._exit, 4).report().error
    assert error is not None and error.exit_code == 4 and "exit code 4" in error.message
    attempt = worker.call(sys.exit, "no data")
    error = attempt.report().error
    assert error is not None and error.exit_code == 1 and attempt.log == b"no data\n"
    assert error.message == "the function called sys.exit: no data"


def test_a_signal_is_named(worker: Worker) -> None:
    def die(number: int) -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), number)

    attempt = worker.call(die, signal.SIGKILL)
    error = attempt.report().error
    assert error is not None and error.signal == "SIGKILL" and "SIGKILL" in error.message
    assert attempt.log == b"last words\n"
    attempt = worker.call(die, signal.SIGSEGV)
    error = attempt.report().error
    assert error is not None and error.signal == "SIGSEGV"
    assert b"Segmentation fault" in attempt.log and b"in die" in attempt.log


def test_running_out_of_memory_says_so(worker: Worker) -> None:
    def eat() -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    error = worker.call(eat).report().error
    assert error is not None and error.kind == "JobError"
    assert "ran out of memory" in error.message and "7 TiB" in error.message


def test_a_preempted_node_is_not_blamed_on_the_code(worker: Worker, google: Google) -> None:
    def fail() -> None:
        raise RuntimeError("connection to a peer lost")

    google.preempted = True
    report = worker.call(fail).report()
    assert report.error is not None and report.error.kind == "Preempted" and "peer lost" in report.error.message


def test_a_lingering_thread_does_not_keep_the_node(worker: Worker) -> None:
    def linger() -> str:
        import atexit
        import threading

        threading.Thread(target=threading.Event().wait).start()
        atexit.register(threading.Event().wait)  # hangs: it gets only a moment
        atexit.register(lambda: print("at exit"))
        return "done"

    attempt = worker.call(linger)
    assert attempt.value() == "done"
    assert attempt.log == b"at exit\n"


def test_a_forked_child_that_returns_reports_nothing(worker: Worker) -> None:
    def fork() -> str:
        child = os.fork()
        if child == 0:
            return "child"
        os.waitpid(child, 0)
        return "parent"

    assert worker.call(fork).value() == "parent"


def test_processes_that_left_the_session_are_ended(worker: Worker) -> None:
    def leave(clean: bool) -> int:
        command = ["sleep", "1000"]
        if clean:
            command = ["env", "-i", *command]
        return subprocess.Popen(["setsid", *command], start_new_session=True).pid

    def double_fork() -> int:
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.execvp("sleep", ["sleep", "1000"])
            os.write(writer, str(child).encode())
            os._exit(0)
        os.wait()
        return int(os.read(reader, 20))

    for function, *args in ((leave, False), (double_fork,), (leave, True)):
        pid = worker.call(function, *args).value()
        assert not running(pid)


def test_worker_processes_of_the_code_find_the_project(worker: Worker) -> None:
    def pool() -> list[int]:
        import multiprocessing

        import squares

        with multiprocessing.get_context("spawn").Pool(1) as workers:
            return workers.map(squares.square, [2, 3])

    files = {"squares.py": "def square(n):\n    return n * n\n"}
    assert worker.call(pool, files=files, import_paths=(".",)).value() == [4, 9]


def test_the_environment_is_set_before_python_starts(worker: Worker, google: Google) -> None:
    def look() -> dict[str, object]:
        import helper

        import launcher

        context = launcher.context()
        return {
            "at import": helper.TOKEN,
            "hash seed": sys.flags.hash_randomization,
            "keras": os.environ["KERAS_BACKEND"],
            "cwd": os.getcwd(),
            "data": open("data.txt").read(),
            "context": (context.job_id, context.attempt, context.worker, context.num_workers),
            "prefix": sys.prefix,
            "argv": open("/proc/self/cmdline").read(),
            "platforms": os.environ.get("JAX_PLATFORMS"),
        }

    secret = "hunter2-hunter2"
    attempt = worker.call(
        look,
        files={"src/helper.py": "import os\nTOKEN = os.environ['TOKEN']\n", "run/data.txt": "here"},
        env={"PYTHONHASHSEED": "0"},
        secrets={"TOKEN": secret},
        cwd="run",
        import_paths=("src",),
    )
    seen = attempt.value()
    assert seen["at import"] == secret and seen["hash seed"] == 0 and seen["keras"] == "jax"
    assert seen["cwd"] == str(attempt.folder / "project" / "run") and seen["data"] == "here"
    assert seen["context"] == (attempt.spec.job.job_id, 1, 0, 1)
    assert "/.launcher/envs/" in seen["prefix"]
    assert secret not in seen["argv"] and seen["platforms"] is None
    attempt.wait_for_end()
    written = [file.read_bytes() for file in attempt.folder.rglob("*") if file.is_file() and file.name != "result.pkl"]
    stored = [o.data for name, o in google.objects.items() if name != attempt.names.result(1)]
    assert not any(secret.encode() in data for data in [*written, *stored])
    assert not any(attempt.spec.key.encode() in data for data in [*written, *stored])
    assert not any(file.stat().st_mode & 0o077 for file in [attempt.folder, attempt.folder / "log"])


def test_project_files_named_like_standard_modules_do_no_harm(worker: Worker) -> None:
    names = (
        *("json", "random", "types", "pickle", "traceback", "linecache", "tokenize", "signal", "hashlib"),
        *("launcher", "cloudpickle", "ast", "os", "io", "subprocess", "dataclasses", "faulthandler"),
    )

    def use_own(fail: bool) -> str:
        import mine

        if fail:
            raise ValueError(mine.WORD)
        return str(mine.WORD)

    files = {f"{name}.py": "raise RuntimeError('the wrong module')\n" for name in names}
    files["mine.py"] = "WORD = 'mine'\n"
    assert worker.call(use_own, False, files=files, import_paths=(".",)).value() == "mine"
    error = worker.call(use_own, True, files=files, import_paths=(".",)).report().error
    assert error is not None and (error.type_name, error.message) == ("ValueError", "mine")


def test_the_lease_is_held_by_the_worker_and_condemned_at_the_end(worker: Worker, google: Google) -> None:
    attempt = worker.call(lambda: None)
    name = paths.lease(attempt.spec.zone, attempt.spec.queued_resource)
    states = []
    for _ in attempt.frames():
        states.append(json.loads(google.get(name))["writer"])
    assert "worker" in states
    attempt.wait_for_end()
    lease = worker.lease(attempt.spec)
    assert lease.state is LeaseState.CONDEMNED and "did not delete" in lease.reason
    resource = attempt.spec.queued_resource
    assert google.deleted == [f"/v2/projects/p/locations/us-central1-a/queuedResources/{resource}?force=true"]
