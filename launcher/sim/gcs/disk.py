"""One bucket's folder.

    bucket.json              the bucket
    objects/<sha256>.json    an object's record, named by the hash of the object's name
    content/<generation>     its bytes, never changed

An object's record is the commit point: replacing it atomically makes a new generation visible, whole or
not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from launcher.sim.gcs.model import BucketRecord, StoredObject


class Bucket:
    """A bucket's record and its live objects by name, in memory and on disk. The caller does the locking."""

    def __init__(self, folder: Path, record: BucketRecord) -> None:
        self.record = record
        self.objects: dict[str, StoredObject] = {}
        self._folder = folder

    @classmethod
    def create(cls, folder: Path, record: BucketRecord) -> Bucket:
        """Make the folder of an empty bucket."""
        for part in ("objects", "content"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        bucket = cls(folder, record)
        bucket.write_record(record)
        return bucket

    @classmethod
    def load(cls, folder: Path) -> Bucket:
        """Read what an earlier process left, and delete the bytes that no record names."""
        bucket = cls(folder, BucketRecord(**json.loads((folder / "bucket.json").read_bytes())))
        for path in (folder / "objects").glob("*.json"):
            stored = StoredObject(**json.loads(path.read_bytes()))
            bucket.objects[stored.name] = stored
        live = {str(stored.generation) for stored in bucket.objects.values()}
        # A process killed between moving bytes in and replacing the record leaves such bytes.
        for path in (folder / "content").iterdir():
            if path.name not in live:
                path.unlink()
        return bucket

    def write_record(self, record: BucketRecord) -> None:
        write_json(self._folder / "bucket.json", record.to_json())
        self.record = record

    def remove(self) -> None:
        """Delete the folder; the bucket's record goes first, so that a half-deleted bucket is none."""
        (self._folder / "bucket.json").unlink()
        shutil.rmtree(self._folder)

    def content(self, generation: int) -> Path:
        """The file with the bytes of a generation."""
        return self._folder / "content" / str(generation)

    def put(self, stored: StoredObject) -> None:
        """Make this the live object of its name; its bytes are already in content(). Older bytes go."""
        old = self.objects.get(stored.name)
        write_json(self._object_record(stored.name), stored.to_json())
        self.objects[stored.name] = stored
        if old is not None and old.generation != stored.generation:
            self.content(old.generation).unlink()

    def remove_object(self, name: str) -> None:
        self._object_record(name).unlink()
        self.content(self.objects.pop(name).generation).unlink()

    def _object_record(self, name: str) -> Path:
        return self._folder / "objects" / f"{hashlib.sha256(name.encode()).hexdigest()}.json"


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace the file atomically."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document))
    os.replace(temporary, path)
