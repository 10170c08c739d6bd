"""Which service, zone and permissions a request to the simulator is about, as Google's IAM counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Of the simulated project, wherever Google names a project by number.
PROJECT_NUMBER = "123456789"

TPU = "tpu.googleapis.com"
STORAGE = "storage.googleapis.com"
RESOURCE_MANAGER = "cloudresourcemanager.googleapis.com"
SERVICE_USAGE = "serviceusage.googleapis.com"
IAM = "iam.googleapis.com"
#: The API's name in Google's message that it is disabled.
TITLES = {
    TPU: "Cloud TPU API",
    STORAGE: "Cloud Storage JSON API",
    RESOURCE_MANAGER: "Cloud Resource Manager API",
    SERVICE_USAGE: "Service Usage API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    IAM: "Identity and Access Management (IAM) API",
}


@dataclass(frozen=True)
class GoogleCall:
    """One request. `writes`: it changes something. `paged`: the query parameter that sizes a list's pages, or ""."""

    service: str
    permissions: tuple[str, ...] = ()
    resource: str = ""
    zone: str | None = None
    writes: bool = False
    paged: str = ""


_TPU_PATH = re.compile(r"/v2/(?P<parent>projects/[^/]+(?:/locations/(?P<zone>[^/]+))?)/?(?P<rest>.*)")
# queuedResources have no permissions of their own: those of nodes count.
_TPU_KINDS = {
    "nodes": "nodes",
    "queuedResources": "nodes",
    "operations": "operations",
    "acceleratorTypes": "acceleratortypes",
    "runtimeVersions": "runtimeversions",
    "locations": "locations",
}
_VERBS = {"POST": "create", "PATCH": "update", "DELETE": "delete"}
_CUSTOM_VERBS = {"getGuestAttributes": "get"}  # others are called like their method
_GCS_PATH = re.compile(r"/(?:upload/|download/)?storage/v1/b(?:/(?P<bucket>[^/]+)(?:/(?P<kind>o|iam)(?P<name>/.*)?)?)?")
_GCS_VERBS = {"GET": "get", "POST": "create", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
_PROJECT_PATH = re.compile(rf"/{RESOURCE_MANAGER}/v[13]/(?P<project>projects/[^/:]+)(?P<verb>:\w+)?")
_ACCOUNT_PATH = re.compile(rf"/{IAM}/v1/(?P<account>projects/[^/]+/serviceAccounts/[^/:]+):testIamPermissions")
_SERVICES_PATH = re.compile(rf"/{SERVICE_USAGE}/v1(?:beta1)?/(?P<project>projects/[^/]+)/services(?P<rest>.*)")


def identify(method: str, path: str, query: dict[str, str]) -> GoogleCall | None:
    """What a request asks Google for; None for one of the simulator's own."""
    if found := _TPU_PATH.fullmatch(path):
        return _tpu(method, found)
    if found := _GCS_PATH.fullmatch(path):
        return _storage(method, found, query)
    if found := _PROJECT_PATH.fullmatch(path):
        verb = (found["verb"] or ":get")[1:]
        needed = () if verb == "testIamPermissions" else (f"resourcemanager.projects.{verb}",)
        return GoogleCall(RESOURCE_MANAGER, needed, found["project"], writes=verb == "setIamPolicy")
    if found := _ACCOUNT_PATH.fullmatch(path):
        return GoogleCall(IAM, resource=found["account"])
    if found := _SERVICES_PATH.fullmatch(path):
        return _service_usage(method, found)
    return None


def _service_usage(method: str, found: re.Match[str]) -> GoogleCall:
    rest = found["rest"]
    if method == "POST":
        verb = "services.disable" if rest.endswith(":disable") else "services.enable"
    else:
        verb = "quotas.get" if "/consumerQuotaMetrics" in rest else "services.get" if rest else "services.list"
    paged = "pageSize" if verb in ("quotas.get", "services.list") else ""
    return GoogleCall(SERVICE_USAGE, (f"serviceusage.{verb}",), found["project"], writes=method == "POST", paged=paged)


def _tpu(method: str, found: re.Match[str]) -> GoogleCall:
    collection, _, rest = (found["rest"] or "locations").partition("/")
    identifier, _, custom = rest.partition(":")
    one = bool(identifier) or (collection == "locations" and found["zone"] is not None)
    verb = _CUSTOM_VERBS.get(custom, custom) or _VERBS.get(method) or ("get" if one else "list")
    return GoogleCall(
        TPU,
        (f"tpu.{_TPU_KINDS.get(collection, collection)}.{verb}",),
        found["parent"],
        found["zone"],
        writes=verb not in ("get", "list"),
        paged="pageSize" if verb == "list" else "",
    )


def _storage(method: str, found: re.Match[str], query: dict[str, str]) -> GoogleCall:
    bucket, kind, name = found["bucket"], found["kind"], found["name"]
    resource = f"b/{bucket}" if bucket else "b"
    if kind == "iam":
        policy = () if name else (f"storage.buckets.{'get' if method == 'GET' else 'set'}IamPolicy",)
        return GoogleCall(STORAGE, policy, resource, writes=method == "PUT")
    if kind is None:
        verb = "list" if method == "GET" and bucket is None else _GCS_VERBS[method]
        return GoogleCall(STORAGE, (f"storage.buckets.{verb}",), resource, writes=method != "GET")
    if method == "PUT" and not name:  # a chunk of an upload that was allowed when it began
        return GoogleCall(STORAGE, resource=resource, writes=True)
    verb = "list" if method == "GET" and not name else _GCS_VERBS[method]
    permissions = [f"storage.objects.{verb}"]
    if verb == "create" and query.get("ifGenerationMatch", "0") != "0":  # what it replaces is deleted
        permissions.append("storage.objects.delete")
    paged = "maxResults" if verb == "list" else ""
    return GoogleCall(STORAGE, tuple(permissions), resource, writes=method != "GET", paged=paged)
