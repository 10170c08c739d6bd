"""Cloud Storage's glob patterns (matchGlob), as regular expressions."""

from __future__ import annotations

import re

from launcher.sim.gcs.errors import GcsError, invalid

_PART = re.compile(
    r"\*\*/|\*\*|\*|\?|\[(?P<not>[!^]?)(?P<set>\]?[^\]]*)\]|\{|\}|,|\\(?P<escaped>.)|(?P<other>.)", re.DOTALL
)


def compiled(glob: str) -> re.Pattern[str]:
    """`*` and `?` stay within one folder, `**` does not, `**/` is any number of folders; `[a-z]`, `[!a]`, `{a,b}`.

    Raises GcsError 400.
    """
    pattern, depth = [], 0
    for part in _PART.finditer(glob):
        text = part.group()
        depth += {"{": 1, "}": -1}.get(text, 0)
        if depth < 0:
            raise _malformed(glob)
        pattern.append(_translated(part, text, first=part.start() == 0 or glob[part.start() - 1] == "/", depth=depth))
    if depth:
        raise _malformed(glob)
    try:
        return re.compile("".join(pattern), re.DOTALL)
    except re.error as error:
        raise _malformed(glob) from error


def _translated(part: re.Match[str], text: str, *, first: bool, depth: int) -> str:
    if part["set"] is not None:
        members = part["set"].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        return f"(?!/)[{'^' if part['not'] else ''}{members}]"
    if part["escaped"] is not None or text == "[" or text == "\\":
        return re.escape(part["escaped"] or text)
    if text == "**/":
        return "(?:.*/)?" if first else ".*/"
    if text == ",":
        return "|" if depth else ","
    fixed = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
    return fixed[text] if text in fixed else re.escape(text)


def _malformed(glob: str) -> GcsError:
    return invalid(f"Invalid glob pattern: {glob}", parameter="matchGlob")
