"""What a person sees while a call runs: phases on standard error, the job's own output on standard output."""

from __future__ import annotations

import codecs
import contextlib
import re
import sys
import threading
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


class Console:
    """Progress for a person. Thread-safe. Standard output gets every byte when it is a file or a pipe.

    A stream that nobody reads any more is no reason to fail: a job runs, and its node has to be deleted.
    """

    def __init__(self, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._lock = threading.Lock()
        self._told = ""
        self._at_line_start = True
        self._filter = TerminalFilter() if self._out.isatty() else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def phase(self, name: str, detail: str = "") -> None:
        line = {
            "wait": detail,
            "connect": f"connecting to {detail}",
            "environment": "setting up the environment",
            "project": "unpacking the project",
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
