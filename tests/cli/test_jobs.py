"""jobs, cancel, logs, attach, result: what they print and their exit codes."""

from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path

import pytest

from launcher import cli
from launcher.records.jobs import ErrorInfo, JobStatus
from launcher.records.leases import LeaseState
from launcher.records.paths import JobPaths
from tests.cli.conftest import Cli, World

TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 7, in train\nZeroDivisionError: by nought\n'


def test_jobs_lists_the_newest_first_with_status_and_node(world: World, run: Cli) -> None:
    queued = world.job(name="first")
    running = world.job(name="second")
    intent = world.attempt(running)
    ran = run("jobs", "--limit", "2", "--json")
    assert ran.code == 0
    listed = json.loads(ran.out)
    assert [each["id"] for each in listed] == [running.job_id, queued.job_id]
    assert [each["status"] for each in listed] == ["RUNNING", "QUEUED"]
    assert [each["node"] for each in listed] == [intent.node, None]
    assert {"id", "name", "status", "accelerator", "node", "created", "owner"} <= listed[0].keys()
    plain = run("jobs", "--limit", "1").out.splitlines()
    assert plain[0].split() == ["ID", "NAME", "STATUS", "ACCELERATOR", "AGE", "NODE"]
    assert len(plain) == 2 and plain[1].startswith(f"{running.job_id}  second  RUNNING  v5litepod-1")


def test_the_table_names_no_node_that_is_gone(world: World, run: Cli) -> None:
    job = world.job()
    intent = world.attempt(job)
    assert intent.node in run("jobs").out
    world.succeed(job, 1)
    assert run("jobs").out.splitlines()[1].endswith(" -")
    assert json.loads(run("jobs", "--json").out)[0]["node"] == intent.node


def test_logs_of_a_job_without_output_says_so(world: World, run: Cli) -> None:
    job = world.job()
    ran = run("logs", job.job_id)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"launcher: job {job.job_id} has written nothing so far: QUEUED\n"
    world.end(job, JobStatus.FAILED, ErrorInfo("OutOfCapacity", "no v5litepod-1 anywhere"))
    assert run("logs", job.job_id).err == f"launcher: job {job.job_id} wrote nothing: FAILED\n"
    assert run("result", job.job_id).err == "launcher: error: no v5litepod-1 anywhere\n"


def test_a_name_that_would_move_the_cursor_or_break_the_table_is_defused(world: World, run: Cli) -> None:
    world.job(name="a\x1b[2J\nb")
    lines = run("jobs", "--limit", "1").out.splitlines()
    assert len(lines) == 2 and "a?[2J?b" in lines[1]


def test_logs_prints_every_byte_as_it_was(world: World, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    job = world.job()
    world.attempt(job)
    noise = bytes(range(256)) + b"[brackets]\r50%\x1b]0;title\x07"
    world.log(job, noise)
    world.log(job, b"no line end", offset=len(noise))
    assert cli.main(["logs", job.job_id]) == 0
    assert capsysbinary.readouterr().out == noise + b"no line end"


def test_logs_of_a_worker_that_does_not_exist(world: World, run: Cli) -> None:
    job = world.job()
    ran = run("logs", job.job_id, "--worker", "3")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"launcher: error: Job {job.job_id} has no worker 3: v5litepod-1 has one worker, number 0.\n"


def test_logs_as_json_with_follow_waits_for_the_end(world: World, run: Cli) -> None:
    job = world.job()
    world.attempt(job, "done")
    world.log(job, b"caf\xc3\xa9 \xff\n")
    world.succeed(job, None)
    ran = run("logs", job.job_id, "-f", "--json")
    assert json.loads(ran.out) == {"id": job.job_id, "worker": 0, "log": "café �\n"}


def test_result_prints_the_value(world: World, run: Cli) -> None:
    job = world.job()
    world.succeed(job, {"loss": [0.5, 0.25]})
    assert run("result", job.job_id).out == "{'loss': [0.5, 0.25]}\n"
    assert json.loads(run("result", job.job_id, "--json").out) == {
        "id": job.job_id,
        "status": "SUCCEEDED",
        "repr": "{'loss': [0.5, 0.25]}",
        "value": {"loss": [0.5, 0.25]},
    }


@pytest.mark.parametrize("value", [{1: "a"}, (1, 2), float("nan"), {"a", "b"}, b"bytes"])
def test_result_as_json_has_no_value_that_would_come_back_as_another(world: World, run: Cli, value: object) -> None:
    job = world.job()
    world.succeed(job, value)
    document = json.loads(run("result", job.job_id, "--json").out)
    assert "value" not in document


def test_result_is_saved_as_a_pickle_that_only_this_user_can_read(world: World, run: Cli, tmp_path: Path) -> None:
    job = world.job()
    world.succeed(job, {"weights": [1, 2]})
    target = tmp_path / "weights.pkl"
    ran = run("result", job.job_id, "--output", str(target))
    assert (ran.code, ran.out) == (0, "")
    assert pickle.loads(target.read_bytes()) == {"weights": [1, 2]}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["weights.pkl"]


def test_result_to_a_folder_that_is_not_there_names_it(world: World, run: Cli, tmp_path: Path) -> None:
    job = world.job()
    world.succeed(job, 1)
    ran = run("result", job.job_id, "--output", str(tmp_path / "nowhere" / "x"))
    assert ran.code == 1
    assert "nowhere" in ran.err and "No such file or directory" in ran.err and "Traceback" not in ran.err


def test_an_exception_of_the_function_is_shown_with_its_remote_traceback(world: World, run: Cli) -> None:
    job = world.job()
    world.fail(job, ZeroDivisionError("by nought"), TRACEBACK)
    ran = run("result", job.job_id)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"{TRACEBACK}launcher: error: job {job.job_id} failed: ZeroDivisionError: by nought\n"


def test_an_error_of_the_job_is_its_message_alone(world: World, run: Cli) -> None:
    job = world.job()
    world.end(job, JobStatus.FAILED, ErrorInfo("TimedOut", "stopped after 3 s"))
    ran = run("result", job.job_id)
    assert ran.code == 1
    assert ran.err == f"launcher: error: stopped after 3 s\nMore: launcher logs {job.job_id}\n"


def test_a_result_without_the_key_needs_trust(world: World, run: Cli) -> None:
    job = world.job(key=False)
    world.succeed(job, 42)
    refused = run("result", job.job_id)
    assert (refused.code, refused.out) == (1, "")
    assert f"launcher result {job.job_id} --trust-bucket" in refused.err
    assert run("result", job.job_id, "--trust-bucket").out == "42\n"


def test_attach_shows_the_log_and_how_it_ended(world: World, run: Cli) -> None:
    job = world.job()
    world.attempt(job, "done")
    world.log(job, b"step 1\n")
    world.succeed(job, 1)
    ran = run("attach", job.job_id)
    assert (ran.code, ran.out) == (0, "step 1\n")
    assert ran.err.endswith(f"launcher: job {job.job_id} SUCCEEDED. Its value: launcher result {job.job_id}\n")


def test_attach_to_a_failed_job_fails(world: World, run: Cli) -> None:
    job = world.job()
    world.fail(job, ZeroDivisionError("by nought"), TRACEBACK)
    ran = run("attach", job.job_id)
    assert ran.code == 1
    assert f"launcher: job {job.job_id} FAILED: ZeroDivisionError: by nought\n" in ran.err
    as_json = run("attach", job.job_id, "--json")
    assert (as_json.code, json.loads(as_json.out)["status"]) == (1, "FAILED")


def test_cancel_ends_the_job_and_deletes_its_node(world: World, run: Cli) -> None:
    job = world.job()
    intent = world.node(job)
    ran = run("cancel", job.job_id)
    assert (ran.code, ran.out) == (0, f"job {job.job_id} is CANCELLED\n")
    assert not world.exists(intent)
    assert world.lease(intent).state is LeaseState.CONDEMNED
    assert world.platform.store.read(JobPaths(job.owner, job.job_id).cancel) is not None


def test_cancel_leaves_an_ended_job_as_it_is(world: World, run: Cli) -> None:
    job = world.job()
    world.succeed(job, 7)
    ran = run("cancel", job.job_id)
    assert (ran.code, ran.out) == (0, f"job {job.job_id} had ended: SUCCEEDED\n")
    assert run("result", job.job_id).out == "7\n"


@pytest.mark.parametrize("command", ["attach", "cancel", "logs", "result"])
def test_a_job_that_is_not_there_is_one_line(world: World, run: Cli, command: str) -> None:
    ran = run(command, "20200101-000000000-aaaaaa")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("launcher: error: no job 20200101-000000000-aaaaaa of ")
    assert ran.err.count("\n") == 1 and "launcher jobs" in ran.err


def test_a_value_that_starts_with_a_dash_is_no_option(world: World, run: Cli) -> None:
    ran = run("logs", "--", "-f")
    assert ran.code == 1
    assert "'-f' is not a job id" in ran.err
