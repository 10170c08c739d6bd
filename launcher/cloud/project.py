"""What a project says of itself: Cloud Resource Manager, IAM, Service Usage, over REST."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from launcher.cloud import credentials as _credentials
from launcher.cloud.rest import RestApi, base
from launcher.cloud.retry import Call
from launcher.cloud.seams import TpuQuota
from launcher.errors import InvalidRequest

_MOST_PERMISSIONS = 100
_MOST_SERVICES = 30
_INVALID_PERMISSION = re.compile(r"Permission (\S+) is not valid")
_TPU = "tpu.googleapis.com"


class CloudProject(RestApi):
    """A ProjectService."""

    def account(self) -> str:
        return _credentials.account(self._profile.credentials)

    def missing_permissions(self, permissions: Sequence[str]) -> tuple[str, ...]:
        url = f"{base(self._profile.resource_manager_endpoint)}/v3/projects/{self._profile.project}:testIamPermissions"
        about = self._about("asking for the permissions", "cloudresourcemanager.googleapis.com")
        return self._missing(url, permissions, about)

    def missing_account_permissions(self, email: str, permissions: Sequence[str]) -> tuple[str, ...]:
        account = f"projects/-/serviceAccounts/{quote(email, safe='@')}"
        url = f"{base(self._profile.iam_endpoint)}/v1/{account}:testIamPermissions"
        about = self._about(f"asking for the permissions on service account {email}", "iam.googleapis.com")
        return self._missing(url, permissions, about)

    def missing_bucket_permissions(self, bucket: str, permissions: Sequence[str]) -> tuple[str, ...]:
        url = f"{base(self._profile.storage_endpoint)}/storage/v1/b/{quote(bucket, safe='')}/iam/testPermissions"
        missing = f"Check the bucket that the profile names: gcloud storage buckets describe gs://{bucket}"
        about = self._about(
            f"asking for the permissions on gs://{bucket}", "storage.googleapis.com", f"bucket {bucket}", missing
        )
        answer = self._ask(about, "GET", url, params={"permissions": list(permissions)})
        held = answer.get("permissions", ())
        return tuple(each for each in permissions if each not in held)

    def disabled_services(self, services: Sequence[str]) -> tuple[str, ...]:
        parent = f"projects/{self._profile.project}"
        url = f"{base(self._profile.service_usage_endpoint)}/v1/{parent}/services:batchGet"
        about = self._about("asking which APIs are enabled", "serviceusage.googleapis.com")
        states: dict[str, str] = {}
        for start in range(0, len(services), _MOST_SERVICES):
            names = [f"{parent}/services/{each}" for each in services[start : start + _MOST_SERVICES]]
            found = self._ask(about, "GET", url, params={"names": names}).get("services", ())
            # A service's own name holds the project's number.
            states |= {each["name"].rpartition("/")[2]: each.get("state", "") for each in found}
        return tuple(each for each in services if states.get(each) != "ENABLED")

    def tpu_quotas(self, zone: str) -> tuple[TpuQuota, ...]:
        parent = f"projects/{self._profile.project}/services/{_TPU}"
        url = f"{base(self._profile.service_usage_endpoint)}/v1beta1/{parent}/consumerQuotaMetrics"
        about = self._about("reading the TPU quotas", "serviceusage.googleapis.com")
        quotas: list[TpuQuota] = []
        token = ""
        while True:
            document = self._ask(about, "GET", url, params={"view": "FULL"} | ({"pageToken": token} if token else {}))
            for metric in document.get("metrics", ()):
                quotas += _quotas(metric, zone)
            token = document.get("nextPageToken", "")
            if not token:
                return tuple(quotas)

    def _missing(self, url: str, permissions: Sequence[str], about: Call) -> tuple[str, ...]:
        missing: list[str] = []
        for start in range(0, len(permissions), _MOST_PERMISSIONS):
            asked = list(permissions[start : start + _MOST_PERMISSIONS])
            while asked:
                try:
                    held = self._ask(about, "POST", url, json={"permissions": asked}).get("permissions", ())
                except InvalidRequest as exc:
                    unknown = _INVALID_PERMISSION.search(str(exc))
                    if unknown is None or unknown.group(1) not in asked:
                        raise
                    asked.remove(unknown.group(1))  # one that Google gave up: nobody can lack it
                else:
                    missing += [each for each in asked if each not in held]
                    break
        return tuple(missing)

    def _about(self, action: str, service: str, resource: str = "", missing: str = "") -> Call:
        see = f"Check the project that the profile names: gcloud projects describe {self._profile.project}"
        return self._call(action, service, "serviceusage.serviceUsageViewer", missing or see, resource=resource)


def _quotas(metric: Any, zone: str) -> list[TpuQuota]:
    """The limits of one consumerQuotaMetric that count what a zone, or its region, may hold."""
    place = {"zone": zone, "region": zone.rpartition("-")[0]}
    found = []
    for limit in metric.get("consumerQuotaLimits", ()):
        kind = re.search(r"\{(zone|region)\}", limit.get("unit", ""))
        if kind is None or "/min" in limit["unit"] or "/d/" in limit["unit"]:  # calls per minute, not hardware
            continue
        general: int | None = None
        special: int | None = None
        for bucket in limit.get("quotaBuckets", ()):
            amount = int(bucket.get("effectiveLimit", 0))  # int64 as text; 0 is left out
            dimensions = bucket.get("dimensions", {})
            if not dimensions:
                general = amount
            elif dimensions == {kind.group(1): place[kind.group(1)]}:
                special = amount
        amount = special if special is not None else general or 0
        found.append(TpuQuota(metric["metric"].rpartition("/")[2], amount))
    return found
