"""The main path: a call, its log, its value, its exception, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import textwrap

import pytest

from tests.e2e.conftest import User
from tests.e2e.leftovers import wait_until


def test_a_call_returns_its_value_streams_its_log_and_tells_what_it_runs_on(user: User) -> None:
    ran = user.call(
        """
        def f(a, b=1):
            print("from the worker")
            return {"sum": a + b}
        """,
        "f(2, b=40)",
    )
    assert ran.code == 0, ran.err
    assert ran.value == {"sum": 42}
    assert "from the worker\n" in ran.out
    first = ran.err.splitlines()[0]  # also where the project is new and has to be packed
    assert "f on v5litepod-1: 1 chip, 1 host, on demand" in first and "SIMULATED" in first


def test_an_exception_arrives_as_its_own_type_with_the_remote_traceback(user: User) -> None:
    ran = user.script(
        """
        class Broken(Exception):
            def __init__(self, a, b):
                super().__init__(f"{a} and {b}")
                self.both = (a, b)

        @launcher.run
        def f():
            raise Broken("this", "that")

        try:
            f()
        except Broken as exc:
            report([type(exc).__name__, str(exc), str(exc.__cause__)])
        """
    )
    name, message, cause = ran.value
    assert (name, message) == ("Broken", "this and that")
    assert 'script.py", line' in cause and 'raise Broken("this", "that")' in cause


def test_a_helper_module_of_the_project_works_and_its_line_is_in_the_traceback(user: User) -> None:
    user.write("helpers/deep.py", "def divide(a, b):\n    # a comment\n    return a / b\n")
    user.write("helpers/__init__.py", "")
    user.write("sibling.py", "NAME = 'sibling'\n")
    ran = user.script(
        """
        import helpers.deep, sibling

        @launcher.run
        def f():
            try:
                helpers.deep.divide(1, 0)
            except ZeroDivisionError:
                print(sibling.NAME)
                raise

        try:
            f()
        except ZeroDivisionError as exc:
            report(str(exc.__cause__))
        """
    )
    assert "sibling\n" in ran.out
    assert f'{user.folder}/helpers/deep.py", line 3' in ran.value and "return a / b" in ran.value


def test_files_are_found_where_they_are_here(user: User) -> None:
    user.write("data/numbers.txt", "1 2 3")
    inner = user.prepare(
        """
        import os

        @launcher.run
        def f():
            return [open("data/numbers.txt").read(), os.path.basename(os.getcwd())]

        report(f())
        """
    )
    assert user.finish(user.start(str(inner))).value == ["1 2 3", "project"]


def test_the_log_arrives_byte_for_byte(user: User) -> None:
    ran = user.script(
        r"""
        @launcher.run
        def f():
            import os, sys
            os.write(1, b"[bold]not markup[/bold] 10%\r20%\x1b]0;title\x07\xff\xfe")
            print("to stderr", file=sys.stderr)
            sys.stdout.write("no newline at the end")

        job = f.submit()
        job.wait()
        report(list(job.log_bytes()))
        """
    )
    expected = b"[bold]not markup[/bold] 10%\r20%\x1b]0;title\x07\xff\xfeto stderr\nno newline at the end"
    assert bytes(ran.value) == expected


@pytest.mark.parametrize("argument, value", [("0", None), ("", None)])
def test_sys_exit_zero_succeeds_with_none(user: User, argument: str, value: None) -> None:
    assert user.call(f"def f():\n    import sys\n    sys.exit({argument})\n").value is value


@pytest.mark.parametrize(
    "statement, said",
    [
        ("import sys; sys.exit(7)", "7"),
        ("import os; os._exit(9)", "9"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_an_ending_of_the_interpreter_is_a_job_error_that_says_how(user: User, statement: str, said: str) -> None:
    ran = user.script(
        f"""
        @launcher.run
        def f():
            print("last words")
            {statement}

        try:
            f()
        except launcher.JobError as exc:
            report(str(exc))
        """
    )
    assert said in ran.value and "launcher logs" in ran.value
    assert "last words" in ran.out


def test_a_job_that_is_submitted_ends_without_its_script_and_is_read_from_elsewhere(user: User) -> None:
    job_id = user.script(
        """
        @launcher.run
        def f():
            print("on its own")
            return {"x": [1, 2]}

        report(f.submit().id)
        """
    ).value
    ran = user.script(
        f"""
        job = launcher.attach({job_id!r})
        job.follow()
        report([job.result(), job.result(), str(job.status()), job.logs(), job.timeline()])
        """,
        name="elsewhere.py",
    )
    first, again, status, logs, timeline = ran.value
    assert first == again == {"x": [1, 2]}
    assert (status, logs) == ("SUCCEEDED", "on its own\n")
    assert list(timeline) == ["pack", "wait", "connect", "environment", "user code", "result"]
    assert job_id in user.launcher("jobs").out


def test_captured_variables_are_there_before_imports_and_nowhere_else(user: User) -> None:
    secret = "hunter2-but-longer"
    user.write("settings.py", "import os\nTOKEN = os.environ['MY_TOKEN']\n")
    ran = user.script(
        """
        @launcher.run(capture_env_vars=["MY_*"], env={"PLAIN": "yes"})
        def f():
            import os, settings
            return [settings.TOKEN[::-1], os.environ["PLAIN"], os.environ["KERAS_BACKEND"]]

        report(f())
        """,
        MY_TOKEN=secret,
    )
    assert ran.value == [secret[::-1], "yes", "jax"]
    objects = [p for p in _files(user.env["LAUNCHER_SIM_DIR"]) if secret.encode() in p.read_bytes()]
    assert objects == []


def _files(folder: str) -> list[os.PathLike[str]]:
    from pathlib import Path

    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_ctrl_c_cancels_the_job_and_deletes_its_node(user: User) -> None:
    process = user.start(str(user.prepare(_SLEEPER)))
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"
    os.kill(process.pid, signal.SIGINT)
    ran = user.finish(process)
    assert ran.code != 0 and "KeyboardInterrupt" in ran.err and "launcher logs" in ran.err
    (job,) = json.loads(user.launcher("jobs", "--limit", "1", "--json").out)
    assert job["status"] == "CANCELLED"


_SLEEPER = """
@launcher.run
def f():
    import threading
    print("asleep", flush=True)
    threading.Event().wait()

f()
"""


def test_a_killed_client_loses_nothing_the_job_ends_and_the_node_goes(user: User) -> None:
    text = """
    @launcher.run
    def f():
        import os, time
        print("started", flush=True)
        while not os.path.exists(GO):
            time.sleep(0.05)
        print("finished")
        return "done"

    f()
    """
    go = user.folder.parent / "go"
    script = user.prepare(f"GO = {str(go)!r}\n" + textwrap.dedent(text))
    process = user.start(str(script))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    go.touch()
    (job,) = json.loads(user.launcher("jobs", "--limit", "1", "--json").out)
    ran = user.script(
        f"job = launcher.attach({job['id']!r})\nreport([job.result(60), job.logs()])", name="elsewhere.py"
    )
    assert ran.value == ["done", "started\nfinished\n"]


def test_a_timeout_holds_on_the_worker_and_leaves_no_process(user: User) -> None:
    ran = user.script(
        """
        @launcher.run(timeout_s=1)
        def f():
            import subprocess, threading
            subprocess.Popen(["sh", "-c", "setsid sleep 1000 & sleep 1000"])
            print("waiting", flush=True)
            threading.Event().wait()

        try:
            f()
        except launcher.TimedOut as exc:
            report(isinstance(exc, TimeoutError))
        """
    )
    assert ran.value is True and "waiting" in ran.out


def test_a_dropped_connection_resumes_the_log_where_it_stopped(user: User) -> None:
    go = user.folder.parent / "go"
    script = user.prepare(
        f"""
        @launcher.run
        def f():
            import os, time
            for i in range(200):
                print("line", i, flush=True)
                while i == 100 and not os.path.exists({str(go)!r}):
                    time.sleep(0.01)
            return "end"

        report(f())
        """
    )
    process = user.start(str(script))
    assert process.stdout is not None
    head = [process.stdout.readline() for _ in range(101)]
    assert user.launcher("sim", "inject", "dropped-connection").code == 0
    go.touch()
    ran = user.finish(process)
    assert ran.value == "end"
    lines = "".join(head) + ran.out
    assert lines.split("RESULT")[0] == "".join(f"line {i}\n" for i in range(200))
    assert "connection lost" in ran.err


def test_preemption_is_its_own_error(user: User) -> None:
    process = user.start(
        str(
            user.prepare(
                """
                @launcher.run(spot=True)
                def f():
                    import threading
                    print("running", flush=True)
                    threading.Event().wait()

                try:
                    f()
                except launcher.Preempted as exc:
                    report(str(exc))
                """
            )
        )
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    assert user.launcher("sim", "inject", "preemption").code == 0
    assert "PREEMPTED" in user.finish(process).value


def test_two_submissions_of_one_moment_do_not_disturb_each_other(user: User) -> None:
    ran = user.script(
        """
        import concurrent.futures

        @launcher.run
        def f(x):
            return x * x

        with concurrent.futures.ThreadPoolExecutor() as pool:
            report(list(pool.map(f, [2, 3])))
        """
    )
    assert ran.value == [4, 9]


def test_cancel_is_final(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def f():
            import threading
            print("asleep", flush=True)
            threading.Event().wait()

        job = f.submit()
        while "asleep" not in job.logs():
            job.wait(0.1)
        job.cancel()
        job.cancel()
        try:
            job.result(30)
        except launcher.Cancelled:
            report(str(job.status()))
        """
    )
    assert ran.value == "CANCELLED"


def test_a_job_can_be_cancelled_while_it_waits_for_hardware(user: User) -> None:
    assert user.launcher("sim", "inject", "gcs-503", "--count", "2").code == 0
    ran = user.script(
        """
        @launcher.run
        def f():
            return 1

        job = f.submit()
        job.cancel()
        report([str(job.status()), job.wait(30)])
        """
    )
    assert ran.value == ["CANCELLED", True]
    assert wait_until(lambda: json.loads(user.launcher("nodes", "list", "--json").out) == [])
