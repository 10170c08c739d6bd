"""What the store keeps about a bucket and an object, and the preconditions of a request."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from launcher.sim.gcs.errors import GcsError, invalid, not_modified, precondition_failed

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MAX_OBJECT_NAME_BYTES = 1024
# Line breaks, and lone surrogates, which JSON can spell but UTF-8 cannot.
_UNSAFE = re.compile("[\r\n\ud800-\udfff]")
_TEXT_FIELDS = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "storageClass",
)
_BOOL_FIELDS = ("eventBasedHold", "temporaryHold")


@dataclass(frozen=True)
class BucketRecord:
    """A bucket. `fields` is what its creator sent (labels, lifecycle, …), times are RFC 3339.

    `policy`: who may do what with it, None until somebody set it; `policy_generation` counts that.
    """

    name: str
    project: str
    fields: dict[str, Any]
    created: str
    updated: str
    metageneration: int = 1
    policy: dict[str, Any] | None = None
    policy_generation: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StoredObject:
    """A live object. Hashes are base64 as in the API, `fields` are the writable properties."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    size: int
    md5: str
    crc32c: str
    created: str
    updated: str
    fields: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def etag(self) -> str:
        """Changes with the content and with the metadata, as Google's does."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()


@dataclass(frozen=True)
class Preconditions:
    """The `if…Match` parameters of one request; None where the request has none."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], *, prefix: str = "if") -> Preconditions:
        """From query parameters; prefix "ifSource" reads those of a copy's source. Raises GcsError 400."""
        return cls(
            integer(query, f"{prefix}GenerationMatch"),
            integer(query, f"{prefix}GenerationNotMatch"),
            integer(query, f"{prefix}MetagenerationMatch"),
            integer(query, f"{prefix}MetagenerationNotMatch"),
        )

    def check(self, generation: int, metageneration: int, *, reading: bool = False) -> None:
        """Raise GcsError 412 (304 for a NotMatch while reading) unless all hold; 0, 0 means no object."""
        for wanted, actual in (
            (self.generation_match, generation),
            (self.metageneration_match, metageneration),
        ):
            if wanted is not None and wanted != actual:
                raise precondition_failed()
        for unwanted, actual in (
            (self.generation_not_match, generation),
            (self.metageneration_not_match, metageneration),
        ):
            if unwanted is not None and unwanted == actual:
                raise not_modified() if reading else precondition_failed("If-None-Match")


def integer(query: Mapping[str, str], name: str, *, minimum: int = 0) -> int | None:
    """The parameter as an integer, or None where it is absent. Raises GcsError 400."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or int(text) < minimum:
        raise GcsError(400, "invalidParameter", f"Invalid value for {name}: {text!r}", location=("parameter", name))
    return int(text)


def check_bucket_name(name: str) -> None:
    """Raise GcsError 400 unless the name is a legal bucket name (and so is safe as a folder's name)."""
    longest = 222 if "." in name else 63
    if not _BUCKET_NAME.fullmatch(name) or len(name) > longest or ".." in name or name.startswith("goog"):
        raise invalid(f"Invalid bucket name: '{name}'")


def check_object_name(name: str) -> None:
    """Raise GcsError 400 unless the name is a legal object name."""
    size = len(name.encode(errors="surrogatepass"))
    if not 1 <= size <= _MAX_OBJECT_NAME_BYTES:
        raise invalid(f"Object names have 1 to {_MAX_OBJECT_NAME_BYTES} bytes of UTF-8, this one has {size}.")
    if name in (".", "..") or _UNSAFE.search(name) or name.startswith(".well-known/acme-challenge/"):
        raise invalid(f"Disallowed object name: {name!r}")


def writable_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The writable object properties in a request's JSON, type-checked; None stays for a patch to delete by.

    What only the service sets (size, updated, …) is left out, as the service does. Raises GcsError 400.
    """
    for names, kind in ((_TEXT_FIELDS, str), (_BOOL_FIELDS, bool), (("metadata",), dict)):
        for name in names:
            value = document.get(name)
            if value is not None and not isinstance(value, kind):
                raise invalid(f"Invalid value for field: {name}")
            if isinstance(value, str) and _UNSAFE.search(value):
                raise invalid(f"Invalid value for field: {name}")
    for key, value in (document.get("metadata") or {}).items():
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid value for field: metadata.{key}")
    return {name: document[name] for name in (*_TEXT_FIELDS, *_BOOL_FIELDS, "metadata") if name in document}


def merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396), the meaning of PATCH in Google's APIs: None deletes, objects merge."""
    new = dict(old)
    for name, value in change.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            base = new.get(name)
            new[name] = merged(base if isinstance(base, dict) else {}, value)
        else:
            new[name] = value
    return new
