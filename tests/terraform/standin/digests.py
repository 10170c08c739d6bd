"""Digests in the spelling of Cloud Storage and of hashicorp/archive."""

from __future__ import annotations

import base64
import hashlib

import google_crc32c


def md5_of(data: bytes) -> str:
    return _base64(hashlib.md5(data, usedforsecurity=False).digest())


def object_digests(data: bytes) -> dict[str, str]:
    """A google_storage_bucket_object's."""
    digest = md5_of(data)
    return {
        "crc32c": _base64(google_crc32c.Checksum(data).digest()),
        "detect_md5hash": digest,
        "md5hash": digest,
        "md5hexhash": base64.b64decode(digest).hex(),
    }


def archive_digests(data: bytes) -> dict[str, str | int]:
    """A data.archive_file's."""
    sha1, sha256, sha512 = hashlib.sha1(data, usedforsecurity=False), hashlib.sha256(data), hashlib.sha512(data)
    return {
        "id": sha1.hexdigest(),
        "output_base64sha256": _base64(sha256.digest()),
        "output_base64sha512": _base64(sha512.digest()),
        "output_md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "output_sha": sha1.hexdigest(),
        "output_sha256": sha256.hexdigest(),
        "output_sha512": sha512.hexdigest(),
        "output_size": len(data),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
