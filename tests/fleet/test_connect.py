"""Connecting to a worker that does not answer: what is told, and when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.cloud.seams import Endpoint, GuestAttributes, Node, Target
from launcher.errors import ConnectError
from launcher.fleet.connect import connect
from tests.fleet.fakes import ZONE, fake

NODE = Node("n", "READY", (Endpoint("10.0.0.1", "203.0.113.1"),))


class Refusing:
    """Answers every connection with one of these errors; the last one again and again."""

    def __init__(self, *errors: ConnectError) -> None:
        self._errors = list(errors)

    def connect(self, target: Target) -> Any:
        raise self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]


def connecting(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, *errors: ConnectError) -> list[str]:
    monkeypatch.setenv("LAUNCHER_CONFIG_DIR", str(tmp_path / "config"))
    world = fake()
    vars(world.platform).update(connector=Refusing(*errors))
    told: list[str] = []
    with pytest.raises(ConnectError, match=str(errors[-1])):
        connect(
            world.platform,
            zone=ZONE,
            node=NODE,
            worker=0,
            pinned=GuestAttributes({"ssh-ed25519": "AAAA"}),
            owner="ada",
            timeout_s=60.0,
            tell=told.append,
        )
    return told


def test_what_keeps_a_connection_from_being_made_is_told_once_while_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    told = connecting(monkeypatch, tmp_path, ConnectError("proxy says no", transient=True))
    assert told == ["not connected yet, trying for 60 s: proxy says no"]


def test_an_error_that_no_waiting_mends_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    assert connecting(monkeypatch, tmp_path, ConnectError("another host key")) == []
