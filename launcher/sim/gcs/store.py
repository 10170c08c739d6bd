"""Buckets and objects in a folder: generations, preconditions, listing. It survives a restart.

buckets/<bucket>/     a bucket, see disk.py
staging/<random>      an upload that is still going on
forbidden/<bucket>    marks a bucket that answers 403
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from launcher.sim.gcs.content import Content, ContentWriter
from launcher.sim.gcs.disk import Bucket
from launcher.sim.gcs.errors import conflict, forbidden, no_such_bucket, no_such_object
from launcher.sim.gcs.listing import ListQuery, Page, list_page
from launcher.sim.gcs.model import (
    BucketRecord,
    Preconditions,
    StoredObject,
    check_bucket_name,
    check_object_name,
    merged,
)
from launcher.sim.gcs.policies import with_policy

_ANY = Preconditions()


class Store:
    """All buckets of one simulator. Thread-safe; one process at a time may use the folder.

    Methods raise GcsError for what Cloud Storage refuses: 404 missing, 403 forbidden, 409, 412.
    """

    def __init__(self, folder: Path, *, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """Open `folder`, creating it; `clock_us` gives microseconds since the epoch."""
        self.folder = folder
        self._clock_us = clock_us
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._last_generation = 0
        shutil.rmtree(folder / "staging", ignore_errors=True)
        for name in ("buckets", "staging", "forbidden"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    # Buckets

    def create_bucket(
        self, name: str, *, project: str, fields: dict[str, Any] | None = None, exist_ok: bool = False
    ) -> BucketRecord:
        """Make a bucket; 409 if there is one of that name, unless `exist_ok`."""
        check_bucket_name(name)
        with self._lock:
            self._check_allowed(name)
            if (existing := self._find(name)) is not None:
                if exist_ok:
                    return existing.record
                raise conflict("Your previous request to create the named bucket succeeded and you already own it.")
            now = self._timestamp()
            record = BucketRecord(name, project, fields or {}, now, now)
            self._buckets[name] = Bucket.create(self._bucket_folder(name), record)
            return record

    def bucket(self, name: str, preconditions: Preconditions = _ANY) -> BucketRecord:
        with self._lock:
            record = self._bucket(name).record
            preconditions.check(1, record.metageneration, reading=True)
            return record

    def list_buckets(self, project: str) -> list[BucketRecord]:
        """The buckets of a project by name, those without access too, as in Google's listing."""
        with self._lock:
            names = sorted(folder.name for folder in (self.folder / "buckets").iterdir())
            found = [bucket.record for name in names if (bucket := self._find(name)) is not None]
            return [record for record in found if record.project == project]

    def patch_bucket(self, name: str, change: dict[str, Any], preconditions: Preconditions = _ANY) -> BucketRecord:
        """Merge `change` into the bucket's fields (None deletes)."""
        with self._lock:
            bucket = self._bucket(name)
            old = bucket.record
            preconditions.check(1, old.metageneration)
            bucket.write_record(
                replace(
                    old,
                    fields=merged(old.fields, change),
                    updated=self._timestamp(),
                    metageneration=old.metageneration + 1,
                )
            )
            return bucket.record

    def set_policy(self, name: str, policy: dict[str, Any]) -> BucketRecord:
        """Replace who may do what with a bucket; 412 if the policy's etag is not that of the present one."""
        with self._lock:
            bucket = self._bucket(name)
            bucket.write_record(with_policy(bucket.record, policy))
            return bucket.record

    def delete_bucket(self, name: str, preconditions: Preconditions = _ANY) -> None:
        """Delete an empty bucket; 409 while it holds objects."""
        with self._lock:
            bucket = self._bucket(name)
            preconditions.check(1, bucket.record.metageneration)
            if bucket.objects:
                raise conflict("The bucket you tried to delete is not empty.")
            del self._buckets[name]
            bucket.remove()

    def forbid(self, name: str) -> None:
        """From now on every request for this bucket, existing or not, is answered 403."""
        check_bucket_name(name)
        (self.folder / "forbidden" / name).touch()

    # Objects

    def get(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        preconditions: Preconditions = _ANY,
        reading: bool = True,
    ) -> StoredObject:
        """The live object; 404 where there is none or it has another generation than the given one."""
        with self._lock:
            found = self._bucket(bucket).objects.get(name)
            if found is None or generation not in (None, found.generation):
                raise no_such_object(bucket, name)
            preconditions.check(found.generation, found.metageneration, reading=reading)
            return found

    def open(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        preconditions: Preconditions = _ANY,
    ) -> tuple[StoredObject, BinaryIO]:
        """An object and its bytes, which stay readable when the object is replaced or deleted meanwhile."""
        with self._lock:
            found = self.get(bucket, name, generation=generation, preconditions=preconditions)
            return found, self._bucket(bucket).content(found.generation).open("rb")

    def list_objects(self, bucket: str, query: ListQuery) -> tuple[list[StoredObject], Page]:
        with self._lock:
            objects = self._bucket(bucket).objects
            page = list_page(sorted(objects), query)
            return [objects[name] for name in page.names], page

    def writer(self) -> ContentWriter:
        """A file for bytes to come; commit() makes it an object."""
        return ContentWriter(self.folder / "staging" / secrets.token_hex(16))

    def check_insert(self, bucket: str, name: str, preconditions: Preconditions) -> None:
        """Raise what commit() would raise now, before anybody sends the bytes."""
        check_object_name(name)
        with self._lock:
            current = self._bucket(bucket).objects.get(name)
            preconditions.check(*_versions(current))

    def commit(
        self,
        bucket: str,
        name: str,
        content: Content,
        fields: dict[str, Any],
        preconditions: Preconditions = _ANY,
    ) -> StoredObject:
        """Make `content` the next generation of the object, moving its file into the store.

        The preconditions are checked here: of several writers that name one generation, exactly one succeeds.
        """
        with self._lock:
            self.check_insert(bucket, name, preconditions)
            home = self._bucket(bucket)
            now = self._timestamp()
            new = StoredObject(
                bucket=bucket,
                name=name,
                generation=self._next_generation(),
                metageneration=1,
                size=content.size,
                md5=content.md5,
                crc32c=content.crc32c,
                created=now,
                updated=now,
                fields=merged({}, fields),
            )
            os.replace(content.path, home.content(new.generation))
            home.put(new)
            return new

    def patch(
        self,
        bucket: str,
        name: str,
        change: dict[str, Any],
        *,
        generation: int | None = None,
        preconditions: Preconditions = _ANY,
        replace_all: bool = False,
    ) -> StoredObject:
        """Merge `change` into the writable fields (None deletes), or replace them all."""
        with self._lock:
            old = self.get(bucket, name, generation=generation, preconditions=preconditions, reading=False)
            new = replace(
                old,
                fields=merged({} if replace_all else old.fields, change),
                metageneration=old.metageneration + 1,
                updated=self._timestamp(),
            )
            self._bucket(bucket).put(new)
            return new

    def delete(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        preconditions: Preconditions = _ANY,
    ) -> None:
        with self._lock:
            self.get(bucket, name, generation=generation, preconditions=preconditions, reading=False)
            self._bucket(bucket).remove_object(name)

    def copy(
        self,
        source: StoredObject,
        bucket: str,
        name: str,
        fields: dict[str, Any],
        preconditions: Preconditions = _ANY,
    ) -> StoredObject:
        """Make the source's bytes the next generation of an object. Content never changes: a link does."""
        with self._lock:
            current = self.get(source.bucket, source.name, generation=source.generation)
            link = self.folder / "staging" / secrets.token_hex(16)
            os.link(self._bucket(source.bucket).content(current.generation), link)
            try:
                content = Content(link, current.size, current.md5, current.crc32c)
                return self.commit(bucket, name, content, fields, preconditions)
            finally:
                link.unlink(missing_ok=True)

    # Inside

    def _check_allowed(self, name: str) -> None:
        if (self.folder / "forbidden" / name).exists():
            raise forbidden(name)

    def _bucket_folder(self, name: str) -> Path:
        return self.folder / "buckets" / name

    def _bucket(self, name: str) -> Bucket:
        check_bucket_name(name)
        self._check_allowed(name)
        bucket = self._find(name)
        if bucket is None:
            raise no_such_bucket()
        return bucket

    def _find(self, name: str) -> Bucket | None:
        """The bucket, read from disk at its first use."""
        if name not in self._buckets and (self._bucket_folder(name) / "bucket.json").exists():
            bucket = Bucket.load(self._bucket_folder(name))
            generations = (stored.generation for stored in bucket.objects.values())
            self._last_generation = max(self._last_generation, *generations, 0)
            self._buckets[name] = bucket
        return self._buckets.get(name)

    def _next_generation(self) -> int:
        """Microseconds, as Google's look; greater than every one before, whatever the clock does."""
        self._last_generation = max(self._clock_us(), self._last_generation + 1)
        return self._last_generation

    def _timestamp(self) -> str:
        moment = datetime.fromtimestamp(self._clock_us() / 1e6, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _versions(stored: StoredObject | None) -> tuple[int, int]:
    return (0, 0) if stored is None else (stored.generation, stored.metageneration)
