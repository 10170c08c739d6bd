"""What reaches a person's terminal, and what a file or pipe gets."""

from __future__ import annotations

import io

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
    console.phase("wait", "queued \x1b]0;title\x07here")
    console.phase("wait", "queued \x1b]0;title\x07here")
    console.phase("unknown to people")
    assert err.shown() == b"\nlauncher: queued here\n"


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
