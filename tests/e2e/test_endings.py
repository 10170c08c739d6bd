"""Clients that are killed, interrupted, elsewhere or on a terminal: the job ends as it should, and nothing is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.conftest import User
from tests.e2e.leftovers import processes, wait_until

# Runs until the file GO exists.
WAITER = """
@launcher.run
def f():
    import os, time
    print("started", flush=True)
    while not os.path.exists(GO):
        time.sleep(0.02)
    print("finished")
    return "done"
"""


@pytest.fixture
def go(user: User) -> Path:
    return user.folder.parent / "go"


def submitted(user: User, go: Path) -> str:
    """The id of a job that has printed its first line."""
    text = f"GO = {str(go)!r}\n{textwrap.dedent(WAITER)}\njob = f.submit()\n"
    text += "while 'started' not in job.logs():\n    job.wait(0.05)\nreport(job.id)\n"
    return str(user.script(text).value)


def end_driver(user: User, number: int) -> None:
    (driver,) = processes("launcher.driver", user.env["LAUNCHER_SIM_DIR"])
    os.kill(driver, number)
    assert wait_until(lambda: not processes("launcher.driver", user.env["LAUNCHER_SIM_DIR"]))


def status(user: User) -> str:
    (job,) = json.loads(user.launcher("jobs", "--limit", "1", "--json").out)
    return str(job["status"])


def test_a_killed_driver_loses_nothing_the_job_ends_and_the_node_goes(user: User, go: Path) -> None:
    job_id = submitted(user, go)
    end_driver(user, signal.SIGKILL)
    go.touch()
    ran = user.launcher("attach", job_id)
    assert (ran.code, ran.out) == (0, "started\nfinished\n"), ran.err
    assert user.launcher("result", job_id).out == "'done'\n"


def test_a_driver_that_is_asked_to_end_cancels_its_job(user: User, go: Path) -> None:
    job_id = submitted(user, go)
    end_driver(user, signal.SIGTERM)
    assert status(user) == "CANCELLED"
    ran = user.launcher("result", job_id)
    assert ran.code == 1 and "cancelled" in ran.err


def test_a_second_ctrl_c_leaves_at_once_and_a_background_process_deletes_the_node(user: User) -> None:
    process = user.start(
        str(
            user.prepare(
                """
                @launcher.run
                def f():
                    import signal, threading
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ending it takes its time
                    print("asleep", flush=True)
                    while True:
                        threading.Event().wait()

                f()
                """
            )
        )
    )
    assert process.stdout is not None and process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = ""
    while "cancelling job" not in said:
        said = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    ran = user.finish(process)
    assert ran.code != 0 and "KeyboardInterrupt" in ran.err
    assert "left; a background process deletes the node. See: launcher attach " in ran.err
    assert wait_until(lambda: status(user) == "CANCELLED")


def test_a_reader_that_goes_away_does_not_take_the_job_along(user: User, go: Path) -> None:
    script = user.prepare(f"GO = {str(go)!r}\n{textwrap.dedent(WAITER)}\nvalue = f()\nopen(GO, 'w').write(value)\n")
    process = user.start(str(script))
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "started\n"
    process.stdout.close()
    process.stderr.close()
    go.touch()
    process.wait()
    assert go.read_text() == "done"


def test_another_machine_follows_a_live_job_and_needs_trust_for_its_value(user: User, go: Path) -> None:
    job_id = submitted(user, go)
    elsewhere = {"LAUNCHER_CONFIG_DIR": str(user.folder.parent / "another-config")}
    follower = user.start("-m", "launcher.cli", "attach", job_id, **elsewhere)
    assert follower.stdout is not None and follower.stdout.readline() == "started\n"
    assert user.launcher("sim", "inject", "gcs-503", "--count", "4").code == 0
    go.touch()
    followed = user.finish(follower)
    assert (followed.code, followed.out) == (0, "finished\n"), followed.err
    refused = user.launcher("result", job_id, **elsewhere)
    assert refused.code == 1 and "--trust-bucket" in refused.err
    assert user.launcher("result", job_id, "--trust-bucket", **elsewhere).out == "'done'\n"
    assert user.launcher("result", job_id).out == "'done'\n"


def test_on_a_terminal_the_output_of_a_call_keeps_colours_and_loses_what_could_harm(user: User) -> None:
    script = user.prepare(
        r"""
        @launcher.run
        def f():
            import os, threading
            os.write(1, b"\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07clip\x1b[2Jboard 10%\r20%\n")
            threading.Thread(target=threading.Event().wait).start()  # and a lingering thread keeps nothing

        f()
        """
    )
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=user.folder, env=user.env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # Linux's end of a terminal
        pass
    os.close(terminal)
    assert process.wait() == 0, shown
    assert b"\x1b[31mred\x1b[0m clipboard 10%\r20%\r\n" in shown
    assert b"\x1b]52" not in shown and b"\x1b[2J" not in shown


def test_methods_options_and_decorated_helpers(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def helper(x):
            return x + 1

        class Model:
            def __init__(self, weight):
                self.weight = weight

            @launcher.run
            def apply(self, x, function):
                return [self.weight * x, helper(x), function(x), function.local(x), self.twice(x)]

            @launcher.run(accelerator="v5litepod-4")
            def twice(self, x):
                return 2 * x

        chosen = Model(3).apply.with_options(name="chosen", spot=True)
        job = chosen.submit(5, helper)
        report([job.result(), job.record.name, job.record.spot, Model.twice.local(None, 4)])
        """
    )
    assert ran.value == [[15, 6, 6, 6, 10], "chosen", True, 8]
