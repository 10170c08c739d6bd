"""Nodes that stay warm: the next call takes them, no two calls take the same, and nobody's job is disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import User
from tests.e2e.leftovers import wait_until

_COUNTING = """
from launcher.cloud.ssh import SshConnector, SshTransport
from launcher.cloud.storage import GcsBucket

opened = []
def counted(cls, name, told):
    real = getattr(cls, name)
    def wrapper(self, *args, **kwargs):
        told(*args)
        return real(self, *args, **kwargs)
    setattr(cls, name, wrapper)

counted(SshConnector, "connect", lambda target: opened.append("connection"))
counted(SshTransport, "exec", lambda command: opened.append("command"))
for each in ("create", "replace"):
    counted(GcsBucket, each, lambda name, *_: name.startswith("leases/") and opened.append("lease"))
"""


def test_the_second_call_of_a_process_opens_nothing_and_writes_no_lease(warm_user: User) -> None:
    ran = warm_user.script(
        _COUNTING
        + """
@launcher.run
def f(x):
    return x + 1

first = f(1)
opened.clear()
second = f(2)
nodes = {job.node for job in launcher.jobs()}
report([first, second, opened, len(nodes)])
"""
    )
    assert ran.value == [2, 3, [], 1], ran.err
    said = [line for line in ran.err.splitlines() if "warm until" in line]
    assert len(said) == len(set(said))  # another minute is another line
    assert "SIMULATED" in said[0] and "; end it: launcher nodes down sim-" in said[0]
    sent = [each for each in ran.err.splitlines() if "is sent: " in each]
    assert len(sent) == len(set(sent))


def test_another_process_takes_the_warm_node(warm_user: User) -> None:
    first = warm_user.call("def f(): return launcher.context().job_id")
    (node,) = warm_user.nodes()
    assert first.value in node["name"] and node["lease"] == "WARM"
    second = warm_user.call("def f(): return launcher.context().job_id")
    assert second.value != first.value and "warm node" in second.err
    assert [each["name"] for each in warm_user.nodes()] == [node["name"]]


def test_another_machine_of_the_same_person_takes_it_too(warm_user: User, tmp_path: Path) -> None:
    warm_user.call("def f(): return 1")
    elsewhere = warm_user.call("def f(): return 2", LAUNCHER_CONFIG_DIR=str(tmp_path / "elsewhere"))
    assert elsewhere.value == 2, elsewhere.err
    assert len(warm_user.nodes()) == 1


_HELD = """
@launcher.run({options})
def f():
    import os, time
    print("started", flush=True)
    while not os.path.exists({go!r}):
        time.sleep(0.02)
    return 1

report(f())
"""


def held(user: User, go: Path, options: str = "", name: str = "held.py") -> subprocess.Popen[str]:
    """A call that runs until `go` exists."""
    process = user.start(str(user.prepare(_HELD.format(go=str(go), options=options), name)))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_two_at_once_get_a_node_each_and_both_holders_are_shown(warm_user: User, tmp_path: Path) -> None:
    go = tmp_path / "go"
    one, other = held(warm_user, go, name="one.py"), held(warm_user, go, name="other.py")
    nodes = warm_user.nodes()
    assert [node["lease"] for node in nodes] == ["HELD", "HELD"]
    assert {f":{one.pid}-", f":{other.pid}-"} == {node["holder"][node["holder"].index(":") : -8] for node in nodes}
    go.touch()
    assert warm_user.finish(one).value == warm_user.finish(other).value == 1


def test_a_named_node_in_use_is_refused_or_waited_for_and_outlives_every_call(warm_user: User, tmp_path: Path) -> None:
    warm_user.call("def f(): return 1")
    (node,) = warm_user.nodes()
    name, go = node["name"], tmp_path / "go"
    one = held(warm_user, go, f"node={name!r}, keep_warm_s=0")
    refused = warm_user.call("def f(): return 2", options=f"node={name!r}")
    assert refused.code == 1 and f":{one.pid}-" in refused.err and "in use" in refused.err
    script = warm_user.prepare(
        f"@launcher.run(node={name!r}, wait_timeout_s=100)\ndef f(): return 3\nreport(f())\n", "waits.py"
    )
    waits = warm_user.start(str(script))
    assert waits.stderr is not None
    assert any("waiting for node" in line for line in iter(waits.stderr.readline, ""))
    go.touch()
    assert warm_user.finish(one).value == 1
    assert warm_user.finish(waits).value == 3
    (left,) = warm_user.nodes()
    assert left["name"] == name and left["lease"] == "WARM"


def test_a_warm_node_that_is_gone_is_replaced(warm_user: User) -> None:
    script = warm_user.prepare(
        """
        import sys
        @launcher.run
        def f():
            return launcher.context().job_id

        first = f()
        print("ready", flush=True)
        sys.stdin.readline()
        report([first, f()])
        """
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=warm_user.folder,
        env=warm_user.env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (node,) = warm_user.nodes()
    assert warm_user.launcher("nodes", "down", node["name"], "--force").code == 0
    out, err = process.communicate("\n", timeout=100)
    assert process.returncode == 0, err
    first, second = json.loads(out.split("RESULT ")[1])
    (now,) = warm_user.nodes()
    assert first in node["name"] and second in now["name"]


def test_a_killed_client_leaves_a_node_that_is_warm_when_its_job_has_ended(warm_user: User, tmp_path: Path) -> None:
    go = tmp_path / "go"
    one = held(warm_user, go)
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    assert [node["lease"] for node in warm_user.nodes()] == ["HELD"]
    go.touch()
    assert wait_until(lambda: [node["lease"] for node in warm_user.nodes()] == ["WARM"])
    assert warm_user.call("def f(): return 5").value == 5
    assert len(warm_user.nodes()) == 1


def test_ctrl_c_ends_the_job_and_its_node_serves_the_next(warm_user: User, tmp_path: Path) -> None:
    one = held(warm_user, tmp_path / "go")
    os.kill(one.pid, signal.SIGINT)
    ran = warm_user.finish(one)
    assert "KeyboardInterrupt" in ran.err and "warm until" in ran.err
    (job,) = json.loads(warm_user.launcher("jobs", "--limit", "1", "--json").out)
    assert job["status"] == "CANCELLED"
    assert wait_until(lambda: [node["lease"] for node in warm_user.nodes()] == ["WARM"])
    assert warm_user.call("def f(): return 5").value == 5
    assert len(warm_user.nodes()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_told_to_end_while_it_waits_takes_its_request_with_it(warm_user: User, number: int) -> None:
    assert warm_user.launcher("sim", "inject", "slow-operation", "--value", "600").code == 0
    waits = warm_user.start(str(warm_user.prepare("@launcher.run\ndef f(): pass\nf()\n")))
    assert wait_until(warm_user.nodes)
    os.kill(waits.pid, number)
    ran = warm_user.finish(waits)
    assert ran.code == -number and "a background process deletes the node" in ran.err
    assert wait_until(lambda: not warm_user.nodes())
    (job,) = json.loads(warm_user.launcher("jobs", "--limit", "1", "--json").out)
    assert job["status"] == "CANCELLED"


def test_a_client_that_is_told_to_end_while_its_job_runs_leaves_it_to_its_worker(
    warm_user: User, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    one = held(warm_user, go)
    os.kill(one.pid, signal.SIGTERM)
    assert warm_user.finish(one).code == -signal.SIGTERM
    go.touch()
    assert wait_until(lambda: [node["lease"] for node in warm_user.nodes()] == ["WARM"])
    (job,) = json.loads(warm_user.launcher("jobs", "--limit", "1", "--json").out)
    assert job["status"] == "SUCCEEDED"


def test_threads_of_one_process_never_share_a_node_not_even_by_name(warm_user: User) -> None:
    ran = warm_user.script(
        """
        import os
        from concurrent.futures import ThreadPoolExecutor

        def f(go=""):
            import os, time
            if go:
                open(go + ".started", "w").close()
            while go and not os.path.exists(go):
                time.sleep(0.02)
            return launcher.context().job_id

        anywhere = launcher.run(f)
        first = anywhere()
        (job,) = launcher.jobs()
        by_name = launcher.run(node=job.node)(f)
        again = by_name()
        go = os.path.abspath("go")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(by_name, go)
            while not os.path.exists(go + ".started"):
                assert not running.done()
            try:
                by_name()
            except launcher.LauncherError as exc:
                refused = str(exc)
            other = anywhere()
            open(go, "w").close()
            done = running.result()
        nodes = {job.node for job in launcher.jobs()} - {None}
        report(["in use" in refused, len(nodes), len({first, again, other, done})])
        """
    )
    assert ran.value == [True, 2, 4], ran.err
