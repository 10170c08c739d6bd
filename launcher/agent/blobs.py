"""Content-addressed blobs: fetched from the bucket, checked, kept per worker under their hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from launcher.agent.bucket import Bucket, TooLarge
from launcher.agent.failures import AttemptFailed
from launcher.agent.home import Home
from launcher.records import paths
from launcher.records.jobs import Blob


class Blobs:
    """The blobs of one owner."""

    def __init__(self, bucket: Bucket, owner: str, home: Home) -> None:
        self._bucket = bucket
        self._owner = owner
        self._home = home

    def cached(self, blob: Blob, what: str) -> Path:
        """The blob's file, shared by all attempts on this worker: not to be changed."""
        path = self._home.blob(blob.sha256)
        if not path.exists():
            self.fetch(blob, what, path)
        return path

    def fetch(self, blob: Blob, what: str, path: Path) -> None:
        """Downloads to `path`. AttemptFailed when it is missing or is not what was uploaded."""
        name = paths.blob(self._owner, blob.sha256)
        where = f"gs://{self._bucket.bucket}/{name}"
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        try:
            with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
                if not self._bucket.download(name, file, blob.size):
                    raise AttemptFailed(
                        "JobError", f"the job's {what} is missing in the bucket ({where}): submit again"
                    )
            if sha256_of(temporary) != blob.sha256:
                raise TooLarge
            temporary.replace(path)
        except TooLarge:
            raise AttemptFailed(
                "JobError",
                f"the job's {what} in the bucket is not what was uploaded: it was tampered with ({where} does not have "
                "the SHA-256 it is named by). Nothing of it was used. Check who can write to the bucket, then delete "
                "the object and submit again.",
            ) from None
        finally:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
