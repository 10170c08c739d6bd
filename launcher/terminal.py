"""What a person sees while a call runs: phases on standard error, the job's own output on standard output."""

from __future__ import annotations

import codecs
import re
import sys
import threading
from typing import BinaryIO, TextIO, cast

# Kept on a terminal: colours (m) and movement inside the line (C D G K). Everything else that a job prints could
# set the title, write the clipboard or redraw what the launcher itself said.
_SEQUENCE = re.compile(
    rb"\x1b\[[0-9;:]*[mCDGK]"  # kept
    rb"|(\x1b\[[0-?]*[ -/]*[@-~]"  # other CSI
    rb"|\x1b[\]PX^_].*?(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC with their text
    rb"|\x1b[ -/]*[0-Z\\`-~]"  # two-character escapes
    rb"|\xc2[\x80-\x9f]"  # the same controls as one UTF-8 character
    rb"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f])",
    re.DOTALL,
)
_MAX_PENDING = 4096


class TerminalFilter:
    """Drops escape sequences a job's output has no business sending to a terminal. Stateful across chunks."""

    def __init__(self) -> None:
        self._pending = b""

    def __call__(self, data: bytes) -> bytes:
        data = self._pending + data
        cut = self._incomplete_from(data)
        self._pending = data[cut:]
        return _SEQUENCE.sub(lambda m: b"" if m.group(1) else m.group(0), data[:cut])

    @staticmethod
    def _incomplete_from(data: bytes) -> int:
        """Where an unfinished sequence at the end starts."""
        if data.endswith(b"\xc2"):
            return len(data) - 1
        at = -1
        for match in re.finditer(rb"\x1b", data):
            if match.start() >= at:
                whole = _SEQUENCE.match(data, match.start())
                if whole is None:
                    # An unterminated string sequence longer than this is dropped byte by byte instead of held.
                    return match.start() if len(data) - match.start() <= _MAX_PENDING else len(data)
                at = whole.end()
        return len(data)


class Console:
    """Progress for a person. Thread-safe. Standard output gets every byte when it is a file or a pipe."""

    def __init__(self, *, workers: int = 1, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._workers = workers
        self._lock = threading.Lock()
        self._told = ""
        self._at_line_start = True
        self._filter = TerminalFilter() if self._out.isatty() else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def phase(self, name: str, detail: str = "") -> None:
        line = {
            "environment": "setting up the environment",
            "project": "unpacking the project",
            "running": "running",
            "connect": f"connecting to {detail}",
            "release": f"deleting node {detail}",
        }.get(name)
        if name == "wait":
            line = detail
        if line is not None:
            self.notice(line)

    def notice(self, line: str) -> None:
        with self._lock:
            if line == self._told:
                return
            self._told = line
            self._end_line()
            self._err.write(f"launcher: {line}\n")
            self._err.flush()

    def log(self, data: bytes, worker: int = 0) -> None:
        if not data:
            return
        with self._lock:
            if self._filter is not None:
                data = self._filter(data)
            self._at_line_start = data.endswith(b"\n") if data else self._at_line_start
            buffer = cast("BinaryIO | None", getattr(self._out, "buffer", None))
            if buffer is not None:
                self._out.flush()
                buffer.write(data)
                buffer.flush()
            else:
                self._out.write(self._decoder.decode(data))
                self._out.flush()

    def _end_line(self) -> None:
        """On a terminal both streams share the screen: what the job left unfinished gets its line end."""
        if not self._at_line_start and self._out.isatty() and self._err.isatty():
            self._err.write("\n")
        self._at_line_start = True


class Quiet:
    """Progress that nobody watches."""

    def phase(self, name: str, detail: str = "") -> None:
        pass

    def notice(self, line: str) -> None:
        pass

    def log(self, data: bytes, worker: int = 0) -> None:
        pass
