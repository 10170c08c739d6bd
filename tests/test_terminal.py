"""What reaches a person's terminal, and what a file or pipe gets."""

from __future__ import annotations

import codecs
import fcntl
import functools
import io
import os
import pty
import select
import struct
import termios
import threading
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.terminal import Console, TerminalFilter, clean


def through(*pieces: str) -> str:
    terminal_filter = TerminalFilter()
    return "".join(map(terminal_filter, pieces))


@pytest.mark.parametrize(
    "text",
    ["plain [brackets] 10%\r20%\n\ttab\b", "\x1b[31;1mred\x1b[0m", "\x1b[3C\x1b[2D\x1b[5G\x1b[0Kline", "naïve ☃ 漢字"],
)
def test_text_colours_and_movement_inside_the_line_are_kept(text: str) -> None:
    assert through(text) == text


@pytest.mark.parametrize(
    "harmful",
    [
        "\x1b]0;title\x07",
        "\x1b]52;c;aGk=\x1b\\",
        "\x1b]8;;http://x\x9c",
        "\x1bP1$r0m\x1b\\",
        "\x1b_apc\x07",
        "\x1b[2J",
        "\x1b[10A",
        "\x1b[?1049h",
        "\x1b[6n",
        "\x1b[ q",
        "\x1bc",
        "\x1b(0",
        "\x1b#8",
        "\x07",
        "\x00\x0e\x7f",
        "\x1b",
        "\x1b\x1b[2J",
    ],
)
def test_everything_else_is_dropped(harmful: str) -> None:
    assert through(f"a{harmful}\nb\n") == "a\nb\n"
    assert through(f"a{harmful}", "\x1b[31mred") == "a\x1b[31mred"


def test_controls_of_eight_bits_lose_their_meaning() -> None:
    assert through("\x9d52;c;aGk=\x9c\x9b2J") == "52;c;aGk=2J"


def test_a_sequence_that_is_broken_off_does_not_take_the_text_after_it_along() -> None:
    assert through("\x1b[3\x07hello\n") == "[3hello\n"
    assert through("\x1bé\n") == "é\n"
    assert through("\x1b]0;never ended\nnext line\n") == "\nnext line\n"


def test_a_string_of_any_length_is_dropped_and_never_collected() -> None:
    terminal_filter = TerminalFilter()
    shown = terminal_filter("\x1b]52;c;")
    for _ in range(100):
        shown += terminal_filter("A" * 1000)
        assert len(terminal_filter._pending) <= 5100
    assert shown + terminal_filter("\x07after") == "after"


@given(st.text(alphabet="\x1b[]\\;m2J\x07\n\x18 aP\x9c", max_size=30), st.data())
def test_where_the_text_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    assert through(text[:cut], text[cut:], "\n") == through(text, "\n")


@given(st.text(alphabet="\x1b[]\\;m2JhC\x07\n\x18 aP\x9c\x9b", max_size=40))
def test_nothing_but_colours_and_movement_begins_with_an_escape(text: str) -> None:
    shown = through(text, "\n")
    for rest in shown.split("\x1b")[1:]:
        assert rest.startswith("[") and rest.lstrip("[0123456789;:")[:1] in tuple("mCDGK")
    assert not set(shown) & {"\x07", "\x9b", "\x9c"}


def test_text_of_ours_is_cleaned_whole() -> None:
    assert clean("a\x1b[2Jb\x1b]0;open") == "ab"


class Screen(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True

    def shown(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


def screen(encoding: str = "utf-8") -> Screen:
    return Screen(io.BytesIO(), encoding=encoding)


def test_a_pipe_gets_every_byte() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    noise = bytes(range(256)) + b"\x1b]0;title\x07"
    Console(out=out, err=io.StringIO()).log(noise)
    assert isinstance(out.buffer, io.BytesIO) and out.buffer.getvalue() == noise


def test_a_terminal_gets_characters_that_were_split_and_a_mark_for_what_is_none() -> None:
    out = screen()
    console = Console(out=out, err=screen())
    for piece in (b"caf\xc3", b"\xa9 \xff \xc2", b"\x9b2J"):
        console.log(piece)
    assert out.shown().decode() == "café � 2J"


def test_a_terminal_that_cannot_spell_a_character_still_shows_the_rest() -> None:
    out = screen("ascii")
    Console(out=out, err=screen()).log("naïve\n".encode())
    assert out.shown() == b"na\\xefve\n"


def test_a_notice_begins_on_a_line_of_its_own_and_is_said_once() -> None:
    err = screen()
    console = Console(out=screen(), err=err)
    console.log(b"50%")
    console.phase("connect", "a \x1b]0;title\x07node")
    console.phase("connect", "a \x1b]0;title\x07node")
    console.phase("unknown to people")
    assert err.shown() == b"\nlauncher: connecting to a node\n"


def test_after_ctrl_c_a_notice_is_written_over_its_echo_on_a_terminal_only() -> None:
    both, plain = screen(), io.StringIO()
    Console(out=both, err=both).notice("a", after_ctrl_c=True)
    Console(out=plain, err=plain).notice("a", after_ctrl_c=True)
    assert both.shown() == b"\rlauncher: a\n"
    assert plain.getvalue() == "launcher: a\n"


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_stream_that_nobody_reads_any_more_is_no_reason_to_fail() -> None:
    console = Console(out=Gone(), err=Gone())
    console.notice("said to nobody")
    console.log(b"and this")
    closed = io.StringIO()
    closed.close()
    Console(out=screen(), err=closed).phase("running")


# --- waiting ------------------------------------------------------------------------------------------------

QUEUED = "us-east5-a: queued: waiting for free hardware (WAITING_FOR_RESOURCES); tried us-central1-a: no capacity"


WIDE = "\u200b"  # stands for the second cell of a wide character


class Terminal:
    """A pseudo-terminal with what a person sees on it: lines, carriage returns and clearing to the line's end."""

    def __init__(self, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._columns = columns
        self.lines = [""]
        self._at = 0

    def until(self, wanted: Callable[[str], bool]) -> str:
        """What the screen shows as soon as that is `wanted`; it has to come."""
        while not wanted(seen := "\n".join(self.lines)):
            assert len(self.lines[-1]) < self._columns, "the line wraps"
            assert select.select([self._ours], [], [], 30.0)[0], f"nothing more comes; the screen shows {seen!r}"
            text = self._decode(os.read(self._ours, 1))
            if text == "\x1b":
                assert self._decode(os.read(self._ours, 2)) == "[K"
                self.lines[-1] = self.lines[-1][: self._at]
            elif text == "\r":
                self._at = 0
            elif text == "\n":
                self.lines.append("")
            elif text:
                cells = text + WIDE * (unicodedata.east_asian_width(text) == "W")
                self.lines[-1] = self.lines[-1][: self._at] + cells + self.lines[-1][self._at + len(cells) :]
                self._at += len(cells)
        return seen

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Callable[[int], Terminal]]:
    opened: list[Terminal] = []

    def make(columns: int) -> Terminal:
        opened.append(Terminal(columns))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def quiet() -> bool:
    return all(thread.name != "status-line" for thread in threading.enumerate())


def test_what_is_waited_for_is_one_line_with_the_time_that_goes_on(terminal: Callable[[int], Terminal]) -> None:
    seen, time = terminal(150), [100.0]
    console = Console(out=seen.stream, err=seen.stream, every_s=0.005, now=lambda: time[0])
    console.phase("wait", "us-east5-a: asking for v5litepod-1")
    seen.until(lambda text: text == "launcher: us-east5-a: asking for v5litepod-1, 0s")
    time[0] += 5000
    seen.until(lambda text: text == "launcher: us-east5-a: asking for v5litepod-1, 1h23m")
    console.phase("wait", QUEUED)
    time[0] += 192
    state, _, tried = QUEUED.partition("; ")
    seen.until(lambda text: text == f"launcher: {state}, 3m12s; {tried}")
    console.notice("said meanwhile")
    seen.until(lambda text: text == f"launcher: said meanwhile\nlauncher: {state}, 3m12s; {tried}")
    console.log(b"printed\n")
    seen.until(lambda text: text == f"launcher: said meanwhile\nprinted\nlauncher: {state}, 3m12s; {tried}")
    console.phase("connect", "a node")
    seen.until(lambda text: text == "launcher: said meanwhile\nprinted\nlauncher: connecting to a node\n")


def test_a_wait_that_ends_leaves_nothing_behind_and_nothing_running(terminal: Callable[[int], Terminal]) -> None:
    seen = terminal(80)
    console = Console(out=seen.stream, err=seen.stream, every_s=0.005)
    for end in (functools.partial(console.phase, "waited"), console.close):
        console.phase("wait", "zone: queued")
        seen.until(lambda text: text.startswith("launcher: zone: queued, "))
        ticker = next(thread for thread in threading.enumerate() if thread.name == "status-line")
        end()
        seen.until(lambda text: text == "")
        ticker.join()
        assert quiet()


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_a_line_that_is_too_long_keeps_the_time_and_never_wraps(
    terminal: Callable[[int], Terminal], columns: int
) -> None:
    seen, time = terminal(columns), [0.0]
    console = Console(out=seen.stream, err=seen.stream, every_s=0.005, now=lambda: time[0])
    console.phase("wait", QUEUED + " \x1b[3C\n漢字" * 30)
    time[0] += 61
    shown = seen.until(lambda text: ", 1m01s" in text and len(text) == columns - 1)
    assert shown.startswith("launcher: us-east5-a: ")
    console.phase("wait", "漢字" * 60)
    shown = seen.until(lambda text: text.startswith("launcher: 漢") and text.endswith("s"))
    assert len(shown) in (columns - 2, columns - 1) and "字" in shown
    console.phase("waited")
    seen.until(lambda text: text == "")


def test_a_phase_of_the_set_up_that_is_over_at_once_has_no_line(terminal: Callable[[int], Terminal]) -> None:
    seen, time = terminal(80), [0.0]
    console = Console(out=seen.stream, err=seen.stream, every_s=0.005, now=lambda: time[0])
    for name in ("environment", "project", "running"):
        console.phase(name)
        time[0] += 0.4
    seen.until(lambda text: text == "launcher: running\n")
    console.phase("environment")
    time[0] += 60.0
    seen.until(lambda text: text == "launcher: running\nlauncher: setting up the environment\n")
    console.phase("project")
    ticker = next(thread for thread in threading.enumerate() if thread.name == "status-line")
    console.close()
    ticker.join()
    console.notice("the end")
    seen.until(lambda text: text.endswith("environment\nlauncher: the end\n"))


def test_what_the_job_left_unfinished_stays(terminal: Callable[[int], Terminal]) -> None:
    seen = terminal(80)
    console = Console(out=seen.stream, err=seen.stream, every_s=0.005, now=lambda: 0.0)
    console.log(b"50%")
    console.phase("wait", "queued")
    seen.until(lambda text: text == "50%\nlauncher: queued, 0s")
    console.close()
    seen.until(lambda text: text == "50%\n")


def test_a_pipe_gets_one_plain_line_for_each_change() -> None:
    out, inward = os.pipe()
    with os.fdopen(inward, "w") as err, os.fdopen(out) as seen:
        console = Console(out=io.StringIO(), err=err, every_s=0.0001)
        for detail in (
            "zone: asking",
            "zone: queued; tried other: no capacity",
            "zone: queued; tried other: no capacity",
        ):
            console.phase("wait", detail)
        assert quiet()
        console.phase("waited")
        err.close()
        assert seen.read() == "launcher: zone: asking\nlauncher: zone: queued; tried other: no capacity\n"


def test_a_terminal_that_cannot_clear_a_line_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    err = screen()
    Console(out=screen(), err=err).phase("wait", "queued")
    assert err.shown() == b"launcher: queued\n"
