"""The JSON of buckets and objects as the API shows them."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from launcher.sim.gcs.model import BucketRecord, StoredObject
from launcher.sim.google_calls import PROJECT_NUMBER

_CONTENT_TYPE = "application/octet-stream"


def bucket_resource(record: BucketRecord, base_url: str) -> dict[str, Any]:
    """storage#bucket. `base_url` is the server's root without a slash at the end."""
    fields = {"location": "US", "storageClass": "STANDARD", "locationType": "multi-region"} | record.fields
    location = str(fields["location"]).upper()
    return {
        **fields,
        "kind": "storage#bucket",
        "id": record.name,
        "name": record.name,
        "selfLink": f"{base_url}/storage/v1/b/{record.name}",
        "projectNumber": PROJECT_NUMBER,
        "location": location,
        "locationType": "multi-region" if location in ("US", "EU", "ASIA") else "region",
        "metageneration": str(record.metageneration),
        "timeCreated": record.created,
        "updated": record.updated,
        "etag": base64.b64encode(str(record.metageneration).encode()).decode(),
    }


def object_resource(stored: StoredObject, base_url: str) -> dict[str, Any]:
    """storage#object. 64-bit integers are strings, as everywhere in this API."""
    path = f"storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    return {
        "storageClass": "STANDARD",
        **stored.fields,
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "selfLink": f"{base_url}/{path}",
        "mediaLink": f"{base_url}/download/{path}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "size": str(stored.size),
        "md5Hash": stored.md5,
        "crc32c": stored.crc32c,
        "etag": stored.etag,
        "timeCreated": stored.created,
        "updated": stored.updated,
        "timeStorageClassUpdated": stored.created,
    }


def media_headers(stored: StoredObject) -> dict[str, str]:
    """What a download says about the object besides its bytes."""
    fields = stored.fields
    headers = {
        "content-type": fields.get("contentType", _CONTENT_TYPE),
        "etag": stored.etag,
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        "x-goog-storage-class": fields.get("storageClass", "STANDARD"),
        "x-goog-stored-content-encoding": fields.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(stored.size),
        "cache-control": fields.get("cacheControl", "no-cache, no-store, max-age=0, must-revalidate"),
    }
    for header, field in (
        ("content-disposition", "contentDisposition"),
        ("content-language", "contentLanguage"),
    ):
        if field in fields:
            headers[header] = fields[field]
    # ASGI headers are bytes by latin-1; this way what goes out is UTF-8.
    return {name: value.encode().decode("latin-1") for name, value in headers.items()}
