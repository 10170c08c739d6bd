"""Requirement files: what they include, what a lock holds, and what must not be in either."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.errors import PackagingError
from launcher.shipping.stamps import texts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'\]>,]+", re.IGNORECASE)
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?=[^-\s]))(?P<file>.+)")
_LOCAL = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(?P<path>.+)|(?P<plain>\.{0,2}/.*|file:.*)")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".sdist")


@dataclasses.dataclass(frozen=True)
class Pinned:
    """One requirement of a lock. `text` is all its lines, hashes included; `name` is normalised, "" for a bare path."""

    name: str
    text: str

    @property
    def line(self) -> str:
        """Without its hashes."""
        return re.sub(r"\\\n.*", "", self.text, flags=re.DOTALL).strip()

    @property
    def location(self) -> str:
        """The path or URL of a direct requirement, else ""."""
        line = self.line.partition(" ;")[0]
        if line.startswith("-e "):
            return line[3:].strip()
        if " @ " in line:
            return line.partition(" @ ")[2].strip()
        return "" if self.name else line

    @property
    def hashed(self) -> bool:
        return "--hash=" in self.text


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_lock(text: str) -> list[Pinned]:
    """The requirements in uv's output. Options and comments are dropped: no index address gets into a lock."""
    found = []
    for chunk in re.split(r"\n(?=\S)", text):
        block = "\n".join(line for line in chunk.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        if not block or (block.startswith("-") and not block.startswith("-e ")):
            continue
        name = _NAME.match(block)
        bare = name is None or block[name.end() : name.end() + 1] in ("/", ":") or block.startswith("file:")
        found.append(Pinned("" if name is None or bare else normalised(name.group()), block))
    return found


def checked(pins: Iterable[Pinned], source: str) -> tuple[list[Pinned], list[str]]:
    """The requirements that a worker can install, by name, and a notice for each local folder among the rest.

    Raises PackagingError for one that cannot be verified by hash there, or cannot be had there at all.
    """
    kept, notices = [], []
    for pin in pins:
        place = pin.location
        local = (place and not _URL.match(place)) or place.startswith("file:")
        if local and not place.endswith(_ARCHIVES):
            if place.rstrip("/") not in (".", ""):
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
        if not pin.hashed:
            raise PackagingError(
                f"{source}: {pin.line} has no hash, so workers could not tell what they install. "
                "Fix: name a released version, or an archive by URL (https://host/owner/repository/archive/<commit>.zip)."
                if "git+" in place
                else f"{source}: {pin.line} has no hash, so workers could not tell what they install. "
                "Fix: lock it again from an index that publishes hashes."
            )
        kept.append(pin)
    return sorted(kept, key=lambda pin: (pin.name, pin.text)), notices


def render(pins: Iterable[Pinned]) -> str:
    return "".join(pin.text + "\n" for pin in pins)


def refuse_credentials(text: str, place: str) -> None:
    """PackagingError for a URL with a password or token in it: requirement files are sent, locks are in the bucket.

    `${NAME}` is allowed: uv fills it in from the environment, and the file does not hold the value.
    """
    for match in _URL.finditer(text):
        userinfo, at, rest = match.group().partition("://")[2].partition("/")[0].rpartition("@")
        if not at:
            continue
        user, colon, password = userinfo.partition(":")
        secret = password if colon else user
        if not secret or re.fullmatch(r"\$\{\w+\}", secret) or (not colon and "ssh://" in match.group()):
            continue
        scheme, _, tail = match.group().partition("://")
        shown = f"{scheme}://****@{rest}{'/…' if '/' in tail else ''}"
        raise PackagingError(
            f"{place}: the URL {shown} contains a password. Fix: take it out; give uv the credentials by "
            "UV_INDEX_<NAME>_USERNAME and UV_INDEX_<NAME>_PASSWORD, or ~/.netrc."
        )


def files_of(path: Path) -> Iterator[tuple[Path, str]]:
    """A requirements file and every file that it includes, with their texts. PackagingError for a missing one."""
    waiting, seen = [path], set()
    while waiting:
        current = waiting.pop()
        if str(current) in seen:
            continue
        seen.add(str(current))
        try:
            text = texts.get(current)
        except OSError as exc:
            raise PackagingError(
                f"cannot read {current}: {exc.strerror}. Fix: create it, or remove the line that names it."
            ) from exc
        yield current, text
        for line in _logical_lines(text):
            include = _INCLUDE.match(line)
            if include is not None and "://" not in include["file"]:
                named = os.path.expandvars(include["file"].strip())
                waiting.append(Path(os.path.normpath(current.parent / named)))


def local_folders(path: Path, text: str) -> Iterator[Path]:
    """The local projects that a requirements file names: their own declarations are part of the input."""
    for line in _logical_lines(text):
        match = _LOCAL.match(line)
        if match is not None:
            place = (match["path"] or match["plain"]).partition(" ;")[0].partition("[")[0].strip()
            yield path.parent / place.removeprefix("file://").removeprefix("file:")


def option_values(text: str, *names: str) -> Iterator[str]:
    """The values of options such as `--extra-index-url` in a requirements file."""
    for line in _logical_lines(text):
        option, _, value = line.replace("=", " ", 1).partition(" ")
        if option in names and value.strip():
            yield value.strip()


def _logical_lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if stripped:
            yield stripped
