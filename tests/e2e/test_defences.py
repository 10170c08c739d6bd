"""The client is killed, and of the three lines of defence only one is alive: its node is gone within the bound."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.config import load_profile
from tests.e2e.conftest import User
from tests.e2e.leftovers import processes, wait_until
from tests.functions.serving import Site, World, post, serving, site

__all__ = ["site"]

KILLED = ["while it waits for hardware", "while its job runs", "after its job"]
_PASS = "5m"  # between two passes of the function
_ZONES = "us-central1-a"


def leave(user: User, folder: Path, killed: str) -> None:
    """A client that is killed at that point, and whatever of ours on the worker could clean up after it, too."""
    if killed == KILLED[0]:
        assert user.launcher("sim", "inject", "slow-operation", "--value", "600").code == 0
    wait_for_ever = "threading.Event().wait()" if killed == KILLED[1] else "pass"
    client = user.start(
        str(
            user.prepare(
                f"""
                import threading
                @launcher.run(zone="us-central1-a")
                def f():
                    print("started", flush=True)
                    {wait_for_ever}

                f()
                print("over", flush=True)
                threading.Event().wait()
                """
            )
        )
    )
    assert client.stdout is not None and client.stderr is not None
    if killed == KILLED[0]:
        assert wait_until(lambda: bool(user.nodes()))
    else:
        last = "started\n" if killed == KILLED[1] else "over\n"
        assert last in iter(client.stdout.readline, "")
    os.kill(client.pid, signal.SIGKILL)
    client.communicate()
    end(user, ".launcher/agent")
    assert len(user.nodes()) == 1


def end(user: User, command: str) -> None:
    """Kills what runs on simulated workers and has this in its command line."""
    homes = str(Path(user.env["LAUNCHER_SIM_DIR"]) / "workers")
    for pid in processes(command, homes):
        with contextlib.suppress(ProcessLookupError):  # a pass of the timer has just ended
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not processes(command, homes))


def without_timer(user: User) -> None:
    """From now on. A worker that boots later starts its own, which is ended then."""
    end(user, "launcher timer")


def advance(user: User, time: str) -> None:
    ran = user.launcher("sim", "advance", time)
    assert ran.code == 0, ran.err


def gone(user: User) -> bool:
    return wait_until(lambda: not user.nodes(), 10.0)


@pytest.fixture
def world(warm_user: User, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in warm_user.env.items():
        if name.startswith("LAUNCHER_"):
            monkeypatch.setenv(name, value)
    return World(load_profile())


@pytest.mark.parametrize("killed", KILLED)
def test_the_function_alone_takes_the_node_within_idle_and_10_min(
    warm_user: User, world: World, site: Site, tmp_path: Path, killed: str
) -> None:
    leave(warm_user, tmp_path, killed)
    with serving(world.profile, site, "idle_shutdown") as url:
        passes(warm_user, 15 + 10, lambda: post(url, {}))
    assert gone(warm_user)


def passes(user: User, minutes: int, do: Callable[[], object]) -> None:
    for _ in range(minutes // 5):
        without_timer(user)
        advance(user, _PASS)
        do()


@pytest.mark.parametrize("killed", KILLED)
def test_the_timer_alone_takes_the_node_within_idle_and_20_min(warm_user: User, tmp_path: Path, killed: str) -> None:
    leave(warm_user, tmp_path, killed)
    if killed == KILLED[2]:
        advance(warm_user, "20m")
        assert warm_user.nodes()  # the function would have come first
        advance(warm_user, "15m")
    else:
        advance(warm_user, "35m")
    assert gone(warm_user)


def test_the_budget_guard_alone_takes_the_node_once_nobody_uses_it(
    warm_user: User, world: World, site: Site, tmp_path: Path
) -> None:
    leave(warm_user, tmp_path, KILLED[1])
    with serving(world.profile, site, "budget_guard") as url:
        assert post(url, budget_message("1"))[0] == 200
        assert len(warm_user.nodes()) == 1  # its lease is alive: one message deletes nothing that may be busy
        without_timer(warm_user)
        advance(warm_user, "11m")
        assert post(url, budget_message("2"))[0] == 200
    assert gone(warm_user)
    refused = warm_user.call("def f(): return 1")
    assert refused.code == 1 and "launcher unfreeze" in refused.err
    assert warm_user.launcher("unfreeze").code == 0
    assert warm_user.call("def f(): return 1").value == 1


def budget_message(number: str) -> dict[str, object]:
    """As Pub/Sub pushes what Cloud Billing says of a budget."""
    now = datetime.now(UTC)
    notice = {
        "budgetDisplayName": "tpu",
        "costAmount": 120.0,
        "budgetAmount": 100.0,
        "alertThresholdExceeded": 1.0,
        "costIntervalStart": now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat(),
        "currencyCode": "USD",
    }
    data = base64.b64encode(json.dumps(notice).encode()).decode()
    message = {"data": data, "messageId": number, "publishTime": now.isoformat()}
    return {"message": message, "subscription": "projects/p/subscriptions/budget"}
