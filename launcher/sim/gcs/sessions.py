"""Resumable upload sessions, on disk: they too survive a restart, as a client may resume for a week."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.sim.gcs.content import ContentWriter
from launcher.sim.gcs.disk import write_json
from launcher.sim.gcs.errors import GcsError
from launcher.sim.gcs.model import StoredObject

_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_LIFETIME_S = 7 * 24 * 3600


@dataclass
class Session:
    """One resumable upload. `query` holds the parameters of the request that began it, preconditions among
    them; `document` is its JSON; `total` the announced size; `result` the object once it is finished."""

    id: str
    bucket: str
    name: str
    document: dict[str, Any]
    query: dict[str, str]
    total: int | None
    result: StoredObject | None = None
    writer: ContentWriter | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """The sessions in a folder. Its methods do file I/O; each session's lock orders the requests for it."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, creating it; what is older than a week is dropped."""
        self._folder = folder
        self._open: dict[str, Session] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.stat().st_mtime < time.time() - _LIFETIME_S:
                path.unlink()

    def create(
        self, bucket: str, name: str, document: dict[str, Any], query: dict[str, str], total: int | None
    ) -> Session:
        session = Session(secrets.token_urlsafe(32), bucket, name, document, query, total)
        self._write(session)
        self._open[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Raises GcsError 404 for an id that was never given out, was cancelled, failed or expired."""
        session = self._open.get(session_id)
        if session is None:
            path = self._path(session_id, ".json") if _ID.fullmatch(session_id) else None
            if path is None or not path.exists():
                raise GcsError(404, "notFound", f"There is no upload session with the id {session_id!r}.")
            stored = json.loads(path.read_bytes())
            result = stored.pop("result")
            session = Session(**stored, result=StoredObject(**result) if result else None)
            if result is None:
                session = self._open.setdefault(session_id, session)
        return session

    def writer(self, session: Session) -> ContentWriter:
        """Where the session's bytes go, after those that have arrived already."""
        if session.writer is None:
            session.writer = ContentWriter(self._path(session.id, ".data"))
        return session.writer

    def finish(self, session: Session, result: StoredObject) -> None:
        """Remember the result: a client that lost the answer asks again."""
        session.result = result
        self._write(session)
        self._open.pop(session.id, None)

    def discard(self, session: Session) -> None:
        """Forget the session and its bytes."""
        self._open.pop(session.id, None)
        if session.writer is not None:
            session.writer.close()
        for suffix in (".json", ".data"):
            self._path(session.id, suffix).unlink(missing_ok=True)

    def _write(self, session: Session) -> None:
        names = ("id", "bucket", "name", "document", "query", "total")
        document: dict[str, Any] = {name: getattr(session, name) for name in names}
        document["result"] = session.result.to_json() if session.result else None
        write_json(self._path(session.id, ".json"), document)

    def _path(self, session_id: str, suffix: str) -> Path:
        return self._folder / f"{session_id}{suffix}"
