"""What a person sees while a call runs: phases on standard error, the job's own output on standard output."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import re
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from typing import TextIO

# Kept on a terminal: colours (m) and movement inside the line (C D G K). Everything else that a job prints could
# set the title, write the clipboard or redraw what the launcher itself said. No string reaches beyond its line.
_STRING = r"\x1b[\]PX^_][^\x07\x1b\x18\x1a\x9c\n]*"  # OSC, DCS, SOS, PM, APC with their text
_SEQUENCE = re.compile(
    r"(?P<kept>\x1b\[[0-9;:]*[mCDGK])"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # other CSI
    rf"|{_STRING}(?:\x07|\x1b\\|[\x18\x1a\x9c]|(?=[\x1b\n])|\Z)"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"  # escapes of two characters and more
    r"|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # other controls, and an ESC that begins nothing of these
)
_UNFINISHED = re.compile(rf"(?:\x1b\[[0-?]*[ -/]*|\x1b[ -/]*|{_STRING}\x1b?)\Z")
_MAX_PENDING = 4096
_BRIEF_S = 0.5
_BRIEF = {"environment": "setting up the environment", "project": "unpacking the project"}


class TerminalFilter:
    """Drops escape sequences that text from elsewhere has no business sending to a terminal. Stateful."""

    def __init__(self) -> None:
        self._pending = ""

    def __call__(self, text: str) -> str:
        text = self._pending + text
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._pending = text[cut:]
        if len(self._pending) > _MAX_PENDING:  # a string goes on without its text; nothing else is as long
            self._pending = self._pending[:2]
        return _SEQUENCE.sub(lambda match: match["kept"] or "", text[:cut])


def clean(text: str) -> str:
    """Text from elsewhere as it may be shown on a terminal."""
    # The line end completes or drops a sequence that was cut off at the end.
    return TerminalFilter()(text + "\n").rstrip("\n")


class _StatusLine:
    """What is waited for, redrawn in place on a terminal. The caller holds a lock around every method."""

    def __init__(self, err: TextIO, now: Callable[[], float]) -> None:
        self._err = err
        self._now = now
        self._since = 0.0
        self._shown = False
        self.text = ""  # "" while nothing waits

    def set(self, text: str) -> None:
        """A new wait begins with another text; "" ends it."""
        text = "".join(each for each in " ".join(clean(text).split()) if each.isprintable())
        if text != self.text:
            self.text, self._since = text, self._now()
            self.erase()

    def draw(self) -> None:
        if self.text:
            self._err.write(f"\r{self._line()}\x1b[K")
            self._err.flush()
            self._shown = True

    def erase(self) -> None:
        """Before anything else is written."""
        if self._shown:
            self._shown = False
            self._err.write("\r\x1b[K")
            self._err.flush()

    def _line(self) -> str:
        """In one line of the terminal: of a text that is too long, its background goes first, never the time."""
        try:
            room = os.get_terminal_size(self._err.fileno()).columns - 1
        except OSError:
            room = 79
        state, mark, background = self.text.partition("; ")
        waited = f", {_elapsed(self._now() - self._since)}"
        return _cut(_cut(f"launcher: {state}", room - len(waited)) + waited + mark + background, room)


def _elapsed(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{left:02}s" if minutes else f"{left}s"


def _cut(text: str, columns: int) -> str:
    for at, each in enumerate(text):
        columns -= 2 if unicodedata.east_asian_width(each) in "WF" else 1
        if columns < 0:
            return text[:at]
    return text


class Console:
    """Progress for a person. Thread-safe. Standard output gets every byte when it is a file or a pipe.

    On a terminal what is waited for is one line that is redrawn each `every_s` until the next phase; else one line
    for each change. A phase of the set-up that is over within half a second gets none. A stream that nobody reads any
    more is no reason to fail: a job runs, and its node has to be deleted.
    """

    def __init__(
        self,
        *,
        out: TextIO | None = None,
        err: TextIO | None = None,
        every_s: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._every_s = every_s
        self._now = now
        self._brief, self._due = "", 0.0  # a phase that has no line yet, and when it gets one
        self._lock = threading.Condition()
        self._status = _StatusLine(self._err, now)
        self._ticker: threading.Thread | None = None
        self._told = ""
        self._at_line_start = True
        self._filter = TerminalFilter() if self._out.isatty() else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def phase(self, name: str, detail: str = "") -> None:
        with self._lock:
            self._brief, self._due = _BRIEF.get(name, ""), self._now() + _BRIEF_S
            if self._wait(detail if name == "wait" else ""):
                return
            if self._brief:
                self._start_ticker()
        line = {
            "wait": detail,
            "connect": f"connecting to {detail}",
            "running": "running",
            "release": f"deleting node {detail}",
        }.get(name)
        if line is not None:
            self.notice(line)

    def notice(self, line: str, *, after_ctrl_c: bool = False) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if line == self._told:
                return
            self._told = line
            self._status.erase()
            # On a terminal both streams share the screen: what the job left unfinished gets its line end.
            end = "" if self._at_line_start or not (self._out.isatty() and self._err.isatty()) else "\n"
            if after_ctrl_c and not end and self._err.isatty():
                end = "\r"  # over the ^C that the terminal has just echoed
            self._at_line_start = True
            self._err.write(f"{end}launcher: {clean(line)}\n")
            self._err.flush()

    def log(self, data: bytes, worker: int = 0) -> None:
        if not data:
            return
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._status.erase()
            buffer = getattr(self._out, "buffer", None)
            self._out.flush()
            if self._filter is None and buffer is not None:
                buffer.write(data)
                buffer.flush()
                return
            text = self._decoder.decode(data)
            if self._filter is not None:
                text = self._filter(text)
                encoding = self._out.encoding or "utf-8"
                text = text.encode(encoding, "backslashreplace").decode(encoding)
            self._at_line_start = text.endswith("\n") if text else self._at_line_start
            self._out.write(text)
            self._out.flush()

    def close(self) -> None:
        """Nothing waits any more."""
        self.phase("")

    def _wait(self, text: str) -> bool:
        """Shows what is waited for, where that can be redrawn; "" ends it."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if text and not (self._err.isatty() and os.environ.get("TERM") != "dumb"):
                return False
            self._status.set(text)
            if text and not self._at_line_start and self._out.isatty():
                self._err.write("\n")  # what the job left unfinished
                self._at_line_start = True
            self._draw()
            if text:
                self._start_ticker()
            else:
                self._lock.notify()
            return bool(text)
        return False

    def _draw(self) -> None:
        if self._at_line_start or not self._out.isatty():
            self._status.draw()

    def _start_ticker(self) -> None:
        if self._ticker is None:
            atexit.register(self.close)  # a thread that writes while the interpreter ends would abort it
            self._ticker = threading.Thread(target=self._tick, name="status-line", daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        with self._lock:
            with contextlib.suppress(OSError, ValueError):
                while self._status.text or self._brief:
                    self._lock.wait(self._every_s if self._status.text else max(self._due - self._now(), 0.0))
                    self._draw()
                    if self._brief and self._now() >= self._due:
                        line, self._brief = self._brief, ""
                        self.notice(line)
            self._ticker = None
            atexit.unregister(self.close)
