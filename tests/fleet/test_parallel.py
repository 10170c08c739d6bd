from __future__ import annotations

import threading

import pytest

from launcher.fleet.parallel import parallel


def test_results_come_in_the_items_order_and_so_many_at_a_time() -> None:
    together = threading.Barrier(3)

    def work(item: int) -> int:
        together.wait(timeout=60)  # as long as three are under way
        return -item

    assert list(parallel(work, range(9), 3)) == [-item for item in range(9)]
    assert list(parallel(work, [], 3)) == []


def test_after_an_error_nothing_more_is_begun() -> None:
    begun: list[int] = []
    go = threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise ValueError("first")
        go.wait()

    with pytest.raises(ValueError, match="first"):
        list(parallel(work, range(100), 2))
    go.set()
    for thread in [each for each in threading.enumerate() if each.name == "parallel"]:
        thread.join(60)
    assert len(begun) <= 3  # the third while the error was on its way


def test_ctrl_c_while_the_threads_start_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    go = threading.Event()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if begun:
            raise KeyboardInterrupt
        start(thread)
        while not begun:
            pass

    def work(item: int) -> None:
        begun.append(item)
        go.wait()

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(parallel(work, range(100), 4))
    go.set()
    for thread in [each for each in threading.enumerate() if each.name == "parallel"]:
        thread.join(60)
    assert begun == [0]
