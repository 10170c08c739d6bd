"""google_storage_bucket and google_storage_bucket_object against the Cloud Storage JSON API."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
from pathlib import Path
from typing import Any

from tests.terraform.standin.cloud import Cloud, CloudError, Json
from tests.terraform.standin.customdiff import local_content
from tests.terraform.standin.digests import object_digests
from tests.terraform.standin.live import Field, body, first, known, observed, observed_labels
from tests.terraform.standin.values import Object, is_empty

_CONDITIONS = {  # argument: (field, the flag that sends a zero)
    "age": ("age", "send_age_if_zero"),
    "created_before": ("createdBefore", None),
    "custom_time_before": ("customTimeBefore", None),
    "days_since_custom_time": ("daysSinceCustomTime", "send_days_since_custom_time_if_zero"),
    "days_since_noncurrent_time": ("daysSinceNoncurrentTime", "send_days_since_noncurrent_time_if_zero"),
    "matches_prefix": ("matchesPrefix", None),
    "matches_storage_class": ("matchesStorageClass", None),
    "matches_suffix": ("matchesSuffix", None),
    "noncurrent_time_before": ("noncurrentTimeBefore", None),
    "num_newer_versions": ("numNewerVersions", "send_num_newer_versions_if_zero"),
    "size_above_bytes": ("sizeAboveBytes", None),
    "size_below_bytes": ("sizeBelowBytes", None),
}
_IS_LIVE = {"LIVE": True, "ARCHIVED": False}


def _rules_to_api(rules: Any) -> Json | None:
    return {"rule": [_rule_to_api(each) for each in rules]} if rules else None


def _rule_to_api(rule: Object) -> Json:
    said, action = first(rule["condition"]), first(rule["action"])
    condition: Json = {
        field: said[name]
        for name, (field, even_zero) in _CONDITIONS.items()
        if not is_empty(said.get(name)) or (even_zero and said.get(even_zero))
    }
    if said.get("with_state") in _IS_LIVE:
        condition["isLive"] = _IS_LIVE[said["with_state"]]
    storage_class = {"storageClass": action["storage_class"]} if action.get("storage_class") else {}
    return {"action": {"type": action["type"], **storage_class}, "condition": condition}


def _rules_from_api(value: Any) -> list[Object]:
    return [_rule_from_api(each) for each in (value or {}).get("rule", [])]


def _rule_from_api(rule: Json) -> Object:
    said: Json = rule.get("condition", {})
    flags = {flag: said.get(field) == 0 or None for field, flag in _CONDITIONS.values() if flag}
    condition = {name: said.get(field) for name, (field, _) in _CONDITIONS.items()}
    state = {None: "ANY", True: "LIVE", False: "ARCHIVED"}[said.get("isLive")]
    action = {"type": rule["action"]["type"], "storage_class": rule["action"].get("storageClass")}
    return {"action": [action], "condition": [{**condition, **flags, "with_state": state}]}


def _wrapped(argument: str, field: str) -> tuple[Any, Any]:
    """A block of one argument."""

    def to_api(value: Any) -> Json | None:
        given = first(value).get(argument)
        return None if given is None else {field: given}

    def from_api(value: Any) -> list[Object]:
        return [{argument: value[field]}] if value and field in value else []

    return to_api, from_api


def _soft_delete_to_api(value: Any) -> Json | None:
    given = first(value).get("retention_duration_seconds")
    return None if given is None else {"retentionDurationSeconds": str(given)}


def _soft_delete_from_api(value: Any) -> list[Object]:
    if not value:
        return []
    seconds = int(value.get("retentionDurationSeconds", 0))
    return [{"retention_duration_seconds": seconds, "effective_time": value.get("effectiveTime", "")}]


def _uniform(value: Any) -> Any:
    return (value or {}).get("uniformBucketLevelAccess", {}).get("enabled", False)


def _prevention(value: Any) -> Any:
    return (value or {}).get("publicAccessPrevention", "inherited")


_BUCKET = (
    Field("name", "name"),
    Field("lifecycle_rule", "lifecycle", _rules_to_api, _rules_from_api),
    Field("versioning", "versioning", *_wrapped("enabled", "enabled")),
    Field("soft_delete_policy", "softDeletePolicy", _soft_delete_to_api, _soft_delete_from_api),
    Field("storage_class", "storageClass"),
    Field("hierarchical_namespace", "hierarchicalNamespace", *_wrapped("enabled", "enabled")),
    Field("rpo", "rpo", from_api=lambda value: value or "DEFAULT"),
    Field("requester_pays", "billing", lambda value: {"requesterPays": value} if value else None,
          lambda value: (value or {}).get("requesterPays")),
)  # fmt: skip
_SENT = (
    *_BUCKET,
    Field("location", "location", lambda value: value.lower()),
    Field("encryption", "encryption", *_wrapped("default_kms_key_name", "defaultKmsKeyName")),
)
_SEEN = (
    *_BUCKET,
    Field("location", "location"),
    Field("encryption", "encryption", *_wrapped("default_kms_key_name", "defaultKmsKeyName")),
    Field("uniform_bucket_level_access", "iamConfiguration", lambda value: value or None, _uniform),
    Field("public_access_prevention", "iamConfiguration", lambda value: value or None, _prevention),
    Field("project_number", "projectNumber", from_api=lambda value: int(value or 0)),
    Field("self_link", "selfLink"),
    Field("time_created", "timeCreated"),
    Field("updated", "updated"),
)
_UNSAID = (
    "autoclass", "cors", "custom_placement_config", "default_event_based_hold", "enable_object_retention", "ip_filter",
    "logging", "retention_policy", "website",
)  # fmt: skip


class Bucket:
    """google_storage_bucket"""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, planned: Object) -> Object:
        name = planned["name"]
        try:
            self._cloud.call("POST", "b", _bucket(planned), prettyPrint="false", project=planned["project"])
        except CloudError as exc:
            raise CloudError(f"Error creating bucket {name}: {exc}", exc.status) from exc
        state = self.read(planned)
        if state is None:
            raise CloudError(f"Error reading bucket {name} after creation: it was gone")
        return state

    def read(self, state: Object) -> Object | None:
        found = self._cloud.find(_path(state["name"]), prettyPrint="false")
        if found is None:
            return None
        fixed = {"id": state["name"], "url": f"gs://{state['name']}"}
        return observed(_SEEN, state, found) | observed_labels(state, found) | fixed

    def update(self, prior: Object, planned: Object) -> Object:
        before, after = _bucket(prior), _bucket(planned)
        change: Json = {name: after.get(name) for name in before.keys() | after.keys()}
        change = {name: value for name, value in change.items() if value != before.get(name)}
        if "labels" in change:
            removed = dict.fromkeys(before.get("labels", {}).keys() - after.get("labels", {}).keys())
            change["labels"] = {**after.get("labels", {}), **removed}
        if change:
            self._cloud.call("PATCH", _path(planned["name"]), change, prettyPrint="false")
        return self.read(planned) or planned

    def delete(self, prior: Object) -> None:
        name = prior["name"]
        self._cloud.find(f"{_path(name)}/anywhereCaches/")
        listed = self._cloud.find(f"{_path(name)}/o", prettyPrint="false", versions="true")
        if listed and listed.get("items") and not prior["force_destroy"]:
            raise CloudError(
                f"Error trying to delete bucket {name} containing objects without `force_destroy` set to true"
            )
        while listed and listed.get("items"):
            for each in listed["items"]:
                path = f"{_path(name)}/o/{_quoted(each['name'])}"
                self._cloud.call("DELETE", path, generation=each["generation"], prettyPrint="false")
            listed = self._cloud.find(f"{_path(name)}/o", prettyPrint="false", versions="true")
        _delete(self._cloud, _path(name), f"Error deleting bucket {name}")


def _bucket(state: Object) -> Json:
    unsaid = [name for name in _UNSAID if not is_empty(known(state.get(name)))]
    if unsaid:
        raise CloudError(f"bucket {state['name']}: the stand-in cannot say {', '.join(unsaid)}")
    access: Json = {}
    if prevention := known(state["public_access_prevention"]):
        access["publicAccessPrevention"] = prevention
    if (uniform := known(state["uniform_bucket_level_access"])) is not None:
        access["uniformBucketLevelAccess"] = {"enabled": uniform}
    return body(_SENT, state) | {"iamConfiguration": access, "labels": known(state["effective_labels"]) or {}}


_OBJECT = (
    Field("cache_control", "cacheControl"),
    Field("content_disposition", "contentDisposition"),
    Field("content_encoding", "contentEncoding"),
    Field("content_language", "contentLanguage"),
    Field("content_type", "contentType"),
    Field("kms_key_name", "kmsKeyName"),
    Field("metadata", "metadata"),
    Field("storage_class", "storageClass"),
)
_OBJECT_TOLD = (
    Field("crc32c", "crc32c"),
    Field("detect_md5hash", "md5Hash"),
    Field("generation", "generation", from_api=lambda value: int(value or 0)),
    Field("md5hash", "md5Hash"),
    Field("md5hexhash", "md5Hash", from_api=lambda value: base64.b64decode(value or "").hex()),
    Field("media_link", "mediaLink"),
    Field("self_link", "selfLink"),
)


class BucketObject:
    """google_storage_bucket_object"""

    def __init__(self, cloud: Cloud, cwd: Path) -> None:
        self._cloud = cloud
        self._cwd = cwd

    def create(self, planned: Object) -> Object:
        name = planned["name"]
        content = local_content(planned, self._cwd)
        if content is None:
            raise CloudError(f"Error opening {planned['source']}: no such file")
        said = body(_OBJECT, planned) | {"bucket": planned["bucket"]}
        kind = said.get("contentType") or _sniffed(content)
        media, content_type = _multipart(said, content, kind)
        parts = urllib.parse.urlsplit(self._cloud.endpoint)
        url = f"{parts.scheme}://{parts.netloc}/upload/storage/v1/{_path(planned['bucket'])}/o"
        query = {"name": name, "prettyPrint": "false", "uploadType": "multipart"}
        try:
            self._cloud.send("POST", url, media, content_type, query)
        except CloudError as exc:
            raise CloudError(f"Error uploading object {name}: {exc}", exc.status) from exc
        state = self.read(planned)
        if state is None:
            raise CloudError(f"Error reading object {name} right after it was written: it was gone")
        return state

    def read(self, state: Object) -> Object | None:
        found = self._cloud.find(_object(state), prettyPrint="false")
        if found is None:
            return None
        fixed = {"id": f"{state['bucket']}-{state['name']}", "output_name": state["name"]}
        # Hash by hash, not by meaning: another content must show.
        told = {field.argument: field.from_api(found.get(field.name)) for field in _OBJECT_TOLD}
        return observed(_OBJECT, state, found) | fixed | told

    def update(self, prior: Object, planned: Object) -> Object:
        return self.create(planned)

    def delete(self, prior: Object) -> None:
        _delete(self._cloud, _object(prior), f"Error deleting contents of object {prior['name']}")


def remembered_object(planned: Object, cwd: Path) -> Object:
    """The state of an object that is written nowhere."""
    content = local_content(planned, cwd)
    if content is None:
        raise CloudError(f"Error opening {planned['source']}: no such file")
    kind = known(planned["content_type"]) or _sniffed(content)
    return {**planned, **object_digests(content), "content_type": kind}


def _path(bucket: str) -> str:
    return f"b/{bucket}"


def _object(state: Object) -> str:
    return f"{_path(state['bucket'])}/o/{_quoted(state['name'])}"


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _delete(cloud: Cloud, path: str, trouble: str) -> None:
    try:
        cloud.call("DELETE", path, prettyPrint="false")
    except CloudError as exc:
        if exc.status != 404:
            raise CloudError(f"{trouble}: {exc}", exc.status) from exc


def _sniffed(content: bytes) -> str:
    return "application/zip" if content.startswith(b"PK\x03\x04") else "text/plain; charset=utf-8"


def _multipart(said: Json, content: bytes, content_type: str) -> tuple[bytes, str]:
    boundary = secrets.token_hex(30)
    head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(said)}\n\r\n"
    part = f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n"
    data = head.encode() + part.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return data, f"multipart/related; boundary={boundary}"
