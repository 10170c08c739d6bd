"""One call, packed: everything that travels, and where it is on this machine until it has."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.cloud.seams import ObjectStore
from launcher.shipping import payload, project
from launcher.shipping.archive import Archive, check_size
from launcher.shipping.blobs import upload_blob
from launcher.shipping.cache import open_cache
from launcher.shipping.captured import Search, capture
from launcher.shipping.environment import Locks, check_python, lock
from launcher.shipping.listing import Listing, listing_of
from launcher.shipping.local_blob import LocalBlob, of_bytes
from launcher.shipping.uv import uv_binary

DEFAULT_MAX_ARCHIVE_BYTES = 500_000_000


@dataclasses.dataclass
class Packed:
    """What one call sends. A context manager: its temporary files live until `close()`.

    cwd and import_paths are relative to the project's root, which is `client_root` here ("" where nothing but
    the payload is sent: then `archive` is None). notices: one line each, for the person who called.
    """

    python: str
    payload: LocalBlob
    archive: LocalBlob | None
    lock_cpu: LocalBlob
    lock_tpu: LocalBlob
    uv: LocalBlob
    cwd: str
    import_paths: tuple[str, ...]
    client_root: str
    secrets: dict[str, str] = dataclasses.field(repr=False)
    index_args: dict[str, str] = dataclasses.field(repr=False)
    unmatched: tuple[str, ...]
    notices: tuple[str, ...]
    _files: contextlib.ExitStack = dataclasses.field(repr=False, compare=False)

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> Packed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def pack(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dependencies: Sequence[str] | None = None,
    capture_env_vars: Sequence[str] = (),
    project_root: str | os.PathLike[str] | None = None,
    max_archive_bytes: int = DEFAULT_MAX_ARCHIVE_BYTES,
    cache_dir: Path | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Packed:
    """Packs a call. Nothing leaves this machine, and uv reads the network only where it resolves something new.

    `max_archive_bytes` limits what the project's files add up to. `on_step` is told before each step that takes
    long; an unchanged project has none. Raises ConfigError and PackagingError, each naming culprit and fix, and
    leaves nothing behind then.
    """
    python = check_python()
    tell = on_step or (lambda step: None)
    cache = open_cache(cache_dir)
    captured = capture(capture_env_vars)
    search = Search(captured.values, cache)
    place = project.locate(function, project_root)
    files = contextlib.ExitStack()
    try:
        spool, modules = payload.write(function, args, kwargs or {}, search)
        files.callback(spool.close)
        listing = listing_of(place)
        if listing.root is not None:
            check_size(listing.root, list(listing.entries), max_archive_bytes)
        locks = lock(None if listing.lone else listing.root, dependencies, python, cache, tell)
        _refuse_values(locks, search)
        archive = None
        if listing.root is not None:
            archive = Archive(listing.root, cache, tell).pack(
                list(listing.entries), search, lambda made: files.callback(made.close)
            )
        there = _on_the_worker(listing)
        return Packed(
            python=python,
            payload=spool.finish(),
            archive=archive,
            lock_cpu=of_bytes(locks.cpu.encode()),
            lock_tpu=of_bytes(locks.tpu.encode()),
            uv=uv_binary(cache, tell),
            cwd=there.cwd,
            import_paths=there.import_paths,
            client_root="" if listing.root is None else str(listing.root),
            secrets=captured.values,
            index_args=locks.index_args,
            unmatched=captured.unmatched,
            notices=(
                *listing.notices,
                *locks.notices,
                *there.notices,
                *project.about_modules(modules, place, there.import_paths),
                *(f"capture_env_vars: {each!r} matches no environment variable here" for each in captured.unmatched),
            ),
            _files=files,
        )
    except BaseException:
        files.close()
        raise


@dataclasses.dataclass(frozen=True)
class _There:
    """Where the function will find itself."""

    cwd: str = "."
    import_paths: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def _on_the_worker(listing: Listing) -> _There:
    root = listing.root
    if root is None:
        return _There()
    cwd = project.current_folder(root, listing.entries)
    paths = project.import_paths(root, listing.entries, listing.lone)
    if cwd is None and not listing.lone:
        return _There(
            ".", paths, (f"the current folder {os.getcwd()} is not sent: the job starts in the project's root, {root}",)
        )
    return _There(cwd or ".", paths)


def _refuse_values(locks: Locks, search: Search) -> None:
    for text in (locks.cpu, locks.tpu):
        search.refuse(text.encode(), "the locked requirements", "take it out of the requirement's URL.")


def upload(packed: Packed, store: ObjectStore, owner: str, *, endpoint: str = "") -> int:
    """Puts everything of a packed call into the bucket that is not there yet; the number of bytes sent.

    `endpoint` is the storage endpoint, by which buckets of the same name are told apart. Raises PackagingError
    where a blob there is not what its name says. Errors of the store pass through.
    """
    wanted = [packed.uv, packed.lock_cpu, packed.lock_tpu, packed.archive, packed.payload]
    unique = {local.blob.sha256: local for local in wanted if local is not None}
    return sum(upload_blob(store, owner, local, endpoint=endpoint) for local in unique.values())
