"""Unpack an archive without leaving its folder, whatever the archive says."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath


class UnsafeArchive(Exception):
    """The archive holds something that must not be unpacked; the message names it."""


def free_bytes(path: Path) -> int:
    """What can still be written on the disk of `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def unpack(archive: Path, target: Path) -> None:
    """The files, folders and links of a tar.gz below `target`, an empty folder, or none yet.

    UnsafeArchive: absolute names, `..`, devices, hard links, links that lead out, more bytes than the disk has free.
    `target` is then as it was before. Links are made last: until then no name can lead anywhere else.
    """
    was_there = target.exists()
    target.mkdir(mode=0o700, exist_ok=True)
    try:
        links = _unpack_files(archive, target, free_bytes(target))
        for path, to in links:
            _check_inside(path.parent, target, f"{path.relative_to(target)} -> {to}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(to)
        for path, to in links:  # again: a later link can turn where an earlier one leads
            _check_inside(path, target, f"{path.relative_to(target)} -> {to}")
    except (tarfile.TarError, EOFError, OSError) as exc:
        _clear(target, was_there)
        raise UnsafeArchive(f"the archive cannot be unpacked: {type(exc).__name__}: {exc}") from exc
    except UnsafeArchive:
        _clear(target, was_there)
        raise


def _clear(target: Path, keep: bool) -> None:
    """Removes what was unpacked. `keep` the folder itself: the job's Python may be starting in it."""
    for path in target.iterdir() if keep else [target]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_inside(path: Path, target: Path, link: str) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target)):
        raise UnsafeArchive(f"the link {link} leads out of the project")


def _unpack_files(archive: Path, target: Path, room: int) -> list[tuple[Path, str]]:
    """Writes folders and files; returns the links that are still to be made."""
    links: list[tuple[Path, str]] = []
    declared = 0
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or "\0" in member.name:
                raise UnsafeArchive(f"{member.name!r} lies outside the project")
            path = target.joinpath(*name.parts)
            declared += member.size
            if declared > room:
                raise UnsafeArchive(f"it unpacks to more than the {room} bytes that are free on the worker's disk")
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                with open(path, "wb") as file:
                    if source is not None:
                        shutil.copyfileobj(source, file, 1 << 20)
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
            elif member.issym():
                links.append((path, member.linkname))
            else:
                raise UnsafeArchive(f"{member.name!r} is not a file, a folder or a symbolic link")
    return links
