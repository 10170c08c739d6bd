"""Requirement files: what they include, what a lock holds, and what must not be in either."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.errors import PackagingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?![A-Za-z0-9._/:-])")
_USERINFO = re.compile(
    r"(?<!\w)(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<userinfo>[^\s\"/?#]*)@(?P<host>[^\s\"/?#]*)", re.IGNORECASE
)
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?=[^-\s]))(?P<file>.+)")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".sdist")


@dataclasses.dataclass(frozen=True)
class Pinned:
    """One requirement of a lock. `text` is all its lines, hashes included; `name` is normalised, "" for a bare path."""

    name: str
    text: str

    @property
    def line(self) -> str:
        """Without its hashes."""
        return self.text.partition("\\\n")[0].strip()

    @property
    def location(self) -> str:
        """The path or URL of a direct requirement, else ""."""
        line = self.line.partition(" ;")[0].removeprefix("-e ")
        _, at, place = line.partition(" @ ")
        return place.strip() if at else ("" if self.name else line.strip())


def parse_lock(text: str) -> list[Pinned]:
    """The requirements in uv's output. Options and comments are dropped: no index address gets into a lock."""
    found = []
    for chunk in re.split(r"\n(?=\S)", text):
        block = "\n".join(line for line in chunk.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        if not block or (block.startswith("-") and not block.startswith("-e ")):
            continue
        name = _NAME.match(block)
        found.append(Pinned(re.sub(r"[-_.]+", "-", name.group()).lower() if name else "", block))
    return found


def checked(pins: Iterable[Pinned], source: str) -> tuple[str, list[str]]:
    """The lock's text, of the requirements that a worker can install, and a notice for each local folder.

    Raises PackagingError for one that cannot be verified by hash there, or cannot be had there at all.
    """
    kept, notices = [], []
    for pin in pins:
        refuse_credentials(pin.text, source)
        place = pin.location
        local = place.startswith("file:") or (place and "://" not in place)
        if local and not place.endswith(_ARCHIVES):
            if place.rstrip("/") != ".":
                notices.append(
                    f"{source}: the local package {place} is not installed on the worker; "
                    "it is imported from the project if it is in it"
                )
            continue
        if local:
            raise PackagingError(
                f"{source}: {place} is a file on this machine, workers cannot install it. "
                "Fix: publish it to your package index, or unpack it into the project."
            )
        if "--hash=" not in pin.text:
            fix = "name a released version, or an archive by URL (https://host/owner/repository/archive/<commit>.zip)"
            raise PackagingError(
                f"{source}: {pin.line} has no hash, so workers could not tell what they install. Fix: {fix}."
            )
        kept.append(pin)
    kept.sort(key=lambda pin: (pin.name, pin.text))
    return "".join(pin.text + "\n" for pin in kept), notices


def refuse_credentials(text: str, place: str) -> None:
    """PackagingError for a URL with a password or token in it: requirement files are sent, locks are in the bucket.

    `${NAME}` is allowed: uv fills it in from the environment, and the file does not hold the value.
    """
    for match in _USERINFO.finditer(text) if "@" in text else ():  # a large uv.lock mostly has none
        user, colon, password = match["userinfo"].partition(":")
        secret = password if colon else user
        if not secret or re.fullmatch(r"\$\{\w+\}", secret) or (not colon and match["scheme"].endswith("ssh")):
            continue
        raise PackagingError(
            f"{place}: the URL {match['scheme']}://****@{match['host']}/… contains a password. Fix: take it out; give "
            "uv the credentials by UV_INDEX_<NAME>_USERNAME and UV_INDEX_<NAME>_PASSWORD, or ~/.netrc."
        )


def mask(text: str) -> str:
    """The text without what stands before the @ of a URL."""
    return _USERINFO.sub(r"\g<scheme>://****@\g<host>", text)


def files_of(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A requirements file and every file that it includes, with their lines. PackagingError for a missing one."""
    waiting, seen = [path], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        lines = _lines(read_text(current))
        yield current, lines
        for line in lines:
            include = _INCLUDE.match(line)
            if include is not None and "://" not in include["file"]:
                named = os.path.expandvars(include["file"].strip())
                waiting.append(Path(os.path.normpath(current.parent / named)))


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as exc:
        raise PackagingError(f"cannot read {path}: {exc.strerror}. Fix its permissions, or what names it.") from exc


def _lines(text: str) -> list[str]:
    """Without comments, continued ones joined."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def local_folder(path: Path, line: str) -> Path | None:
    """The local project that a line of a requirements file names: its own declarations are part of the input."""
    place = re.sub(r"^(-e|--editable)[\s=]+", "", line).partition(" ;")[0].rpartition(" @ ")[2].partition("[")[0]
    folder = path.parent / place.strip().removeprefix("file://").removeprefix("file:")
    return folder if folder.is_dir() else None


def option(line: str, *names: str) -> str:
    """The value of an option such as `--extra-index-url` in a line of a requirements file, else ""."""
    found = re.match(r"(-[\w-]+)(?:\s*=\s*|\s+)(.+)", line)
    return found[2] if found and found[1] in names else ""
