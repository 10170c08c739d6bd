"""One call, packed: everything that travels, and where it is on this machine until it has."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.cloud.seams import ObjectStore
from launcher.errors import PackagingError
from launcher.shipping import interpreter, payload, project
from launcher.shipping.archive import Archive
from launcher.shipping.blobs import LocalBlob, of_bytes, upload_blob
from launcher.shipping.cache import open_cache
from launcher.shipping.captured import Search, capture
from launcher.shipping.environment import Locks, check_python, lock
from launcher.shipping.listing import listing_of
from launcher.shipping.requirements import parse_lock
from launcher.shipping.uv import uv_binary


@dataclasses.dataclass
class Packed:
    """What one call sends. A context manager: its temporary files live until `close()`.

    cwd and import_paths are relative to the project's root, which is `client_root` here ("" where nothing but
    the payload is sent: then `archive` is None). `interpreter` is a Python with its whole version, for workers that
    cannot fetch one. notices: one line each, for the person who called.
    """

    python: str
    payload: LocalBlob
    archive: LocalBlob | None
    lock_cpu: LocalBlob
    lock_tpu: LocalBlob
    uv: LocalBlob
    interpreter: tuple[str, LocalBlob] | None
    cwd: str
    import_paths: tuple[str, ...]
    client_root: str
    secrets: dict[str, str] = dataclasses.field(repr=False)
    index_args: dict[str, str] = dataclasses.field(repr=False)
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
    env: Mapping[str, str] | None = None,
    project_root: str | os.PathLike[str] | None = None,
    max_archive_bytes: int = 500_000_000,
    python_index: str = "",
    cache_dir: Path | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Packed:
    """Packs a call. Nothing leaves this machine, and uv reads the network only where it resolves something new.

    `env`: the job's plain variables, which are recorded in the bucket: searched for captured values like all that
    is sent. `max_archive_bytes` limits what the project's files add up to. `python_index`: the only one that workers
    reach, where they have no internet. `on_step` is told before each step that takes long; an unchanged project has
    none. Raises ConfigError and PackagingError, each naming culprit and fix, and leaves nothing behind then.
    """
    python = check_python()
    cache = open_cache(cache_dir)
    secrets, unmatched = capture(capture_env_vars)
    search = Search(secrets, cache)
    for name, value in (env or {}).items():
        search.refuse(value.encode(), f"env={{{name!r}: …}}, which is recorded", f"leave {name} out of env.")
    place = project.locate(function, project_root)
    files = contextlib.ExitStack()
    try:
        call, modules = payload.write(function, args, kwargs or {}, search, files)
        listing = listing_of(place)
        listing.check_size(max_archive_bytes)
        locks = lock(None if listing.lone else listing.root, dependencies, python, cache, on_step)
        _refuse_values(locks, search)
        if python_index:
            _refuse_unreachable(locks)
        root, entries = listing.root, list(listing.entries)
        cwd, paths = project.where(root, entries) if root is not None else (".", ())
        notices = [*listing.notices, *locks.notices]
        if cwd is None and not listing.lone:
            notices.append(
                f"the current folder {os.getcwd()} is not sent: the job starts in the project's root, {root}"
            )
        notices += project.unsent_modules(modules, root, entries)
        if python_index:
            notices.append(f"workers have no internet: their packages come from {python_index}, their Python from here")
        notices += [f"capture_env_vars: {each!r} matches no environment variable here" for each in unmatched]
        return Packed(
            python=python,
            payload=call,
            archive=None if root is None else Archive(root, cache, on_step, files).pack(entries, search),
            lock_cpu=of_bytes(locks.cpu.encode()),
            lock_tpu=of_bytes(locks.tpu.encode()),
            uv=uv_binary(cache, root or Path.cwd(), on_step),
            interpreter=interpreter.fetch(cache, root or Path.cwd(), python, on_step) if python_index else None,
            cwd=cwd or ".",
            import_paths=paths,
            client_root=str(root or ""),
            secrets=secrets,
            index_args={} if python_index else locks.index_args,  # an index that nobody reaches takes minutes to fail
            notices=tuple(notices),
            _files=files,
        )
    except BaseException:
        files.close()
        raise


def _refuse_values(locks: Locks, search: Search) -> None:
    for text in (locks.cpu, locks.tpu):
        search.refuse(text.encode(), "the locked requirements", "take it out of the requirement's URL.")


def _refuse_unreachable(locks: Locks) -> None:
    """What is fetched from a URL of its own, where workers reach Google's services alone."""
    for place in (pin.location for text in (locks.cpu, locks.tpu) for pin in parse_lock(text) if pin.location):
        if not (urllib.parse.urlsplit(place).hostname or "").endswith(".googleapis.com"):
            raise PackagingError(
                f"{place}: workers of this platform have no internet and cannot fetch it. Fix: take it from the public "
                "index, of which they have a mirror, put the wheel into a bucket, or its source into the project."
            )


def upload(packed: Packed, store: ObjectStore, owner: str, *, endpoint: str = "") -> int:
    """Puts everything of a packed call into the bucket that is not there yet; the number of bytes sent.

    `endpoint` is the storage endpoint, by which buckets of the same name are told apart. Raises PackagingError
    where a blob there is not what its name says. Errors of the store pass through.
    """
    python = packed.interpreter[1] if packed.interpreter else None
    wanted = [packed.uv, python, packed.lock_cpu, packed.lock_tpu, packed.archive, packed.payload]
    unique = {local.blob.sha256: local for local in wanted if local is not None}
    return sum(upload_blob(store, owner, local, endpoint=endpoint) for local in unique.values())
