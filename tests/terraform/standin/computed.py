"""What Google fills in, in Google's form: made of the arguments, and of a digest where Google draws lots."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

from tests.terraform.standin.schema import hint
from tests.terraform.standin.values import UNKNOWN, Object, no_value

PROJECT_NUMBER = "123456789012"
CREATED = "2026-01-01T00:00:00Z"
_COMPUTE = "https://www.googleapis.com/compute/v1/"
_LOCATION = "projects/{project}/locations/{location}"

# {argument}, and of `_words` below: {number}, {uuid}, {hex}, {project_number}. A dot leads into a block.
FORMS: dict[str, dict[str, str]] = {
    "google_artifact_registry_repository": {
        "id": _LOCATION + "/repositories/{repository_id}",
        "name": "{repository_id}",
        "registry_uri": "{location}-{format_lower}.pkg.dev/{project}/{repository_id}",
    },
    "google_artifact_registry_repository_iam_member": {
        "id": _LOCATION + "/repositories/{repository_base}/{role}/{member}"
    },
    "google_billing_budget": {"name": "{uuid}", "id": "billingAccounts/{billing_account}/budgets/{uuid}"},
    "google_cloud_run_v2_service_iam_member": {"id": _LOCATION + "/services/{name_base}/{role}/{member}"},
    "google_cloud_scheduler_job": {"id": "projects/{project}/locations/{region}/jobs/{name}", "state": "ENABLED"},
    "google_cloudfunctions2_function": {
        "id": _LOCATION + "/functions/{name}",
        "environment": "GEN_2",
        "state": "ACTIVE",
        "url": "https://{location}-{project}.cloudfunctions.net/{name}",
        "build_config.build": "projects/{project_number}/locations/{location}/builds/{uuid}",
        "service_config.available_cpu": "0.1666",
        "service_config.service": _LOCATION + "/services/{name}",
        "service_config.uri": "https://{name}-{hex}-uc.a.run.app",
    },
    "google_compute_firewall": {"id": "projects/{project}/global/firewalls/{name}", "self_link": _COMPUTE + "{id}"},
    "google_compute_network": {
        "id": "projects/{project}/global/networks/{name}",
        "network_id": "{number}",
        "numeric_id": "{number}",
        "self_link": _COMPUTE + "{id}",
    },
    "google_compute_router": {
        "id": "projects/{project}/regions/{region}/routers/{name}",
        "self_link": _COMPUTE + "{id}",
    },
    "google_compute_router_nat": {"id": "{project}/{region}/{router}/{name}"},
    "google_compute_subnetwork": {
        "id": "projects/{project}/regions/{region}/subnetworks/{name}",
        "gateway_address": "{gateway}",
        "purpose": "PRIVATE",
        "self_link": _COMPUTE + "{id}",
        "stack_type": "IPV4_ONLY",
    },
    "google_container_cluster": {
        "id": _LOCATION + "/clusters/{name}",
        "control_plane_endpoints_config.dns_endpoint_config.endpoint": "gke-{hex}-{project_number}.{location}.gke.goog",
        "endpoint": "10.0.0.2",
        "master_version": "1.35.2-gke.1000000",
        "node_version": "1.35.2-gke.1000000",
        "self_link": "https://container.googleapis.com/v1/{id}",
        "services_ipv4_cidr": "34.118.224.0/20",
    },
    "google_container_node_pool": {"id": _LOCATION + "/clusters/{cluster_base}/nodePools/{name}"},
    "google_logging_metric": {"id": "{name}"},
    "google_monitoring_alert_policy": {
        "id": "projects/{project}/alertPolicies/{number}",
        "name": "projects/{project}/alertPolicies/{number}",
        "conditions.name": "projects/{project}/alertPolicies/{number}/conditions/{number}",
    },
    "google_monitoring_dashboard": {"id": "projects/{project_number}/dashboards/{uuid}"},
    "google_monitoring_notification_channel": {
        "id": "projects/{project}/notificationChannels/{number}",
        "name": "projects/{project}/notificationChannels/{number}",
    },
    "google_project_iam_custom_role": {
        "id": "projects/{project}/roles/{role_id}",
        "name": "projects/{project}/roles/{role_id}",
    },
    "google_project_iam_member": {"id": "{project}/{role}/{member}"},
    "google_project_service": {"id": "{project}/{service}"},
    "google_pubsub_subscription": {"id": "projects/{project}/subscriptions/{name}"},
    "google_pubsub_topic": {"id": "projects/{project}/topics/{name}"},
    "google_pubsub_topic_iam_member": {"id": "projects/{project}/topics/{topic_base}/{role}/{member}"},
    "google_secret_manager_secret": {
        "id": "projects/{project}/secrets/{secret_id}",
        "name": "projects/{project_number}/secrets/{secret_id}",
    },
    "google_secret_manager_secret_iam_member": {"id": "projects/{project}/secrets/{secret_id_base}/{role}/{member}"},
    "google_secret_manager_secret_version": {
        "id": "projects/{project_number}/secrets/{secret_base}/versions/1",
        "name": "projects/{project_number}/secrets/{secret_base}/versions/1",
        "version": "1",
    },
    "google_service_account": {
        "id": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
        "email": "{account_id}@{project}.iam.gserviceaccount.com",
        "member": "serviceAccount:{account_id}@{project}.iam.gserviceaccount.com",
        "name": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
        "unique_id": "1{number}",
    },
    "google_service_account_iam_member": {"id": "{service_account_id}/{role}/{member}"},
    "google_storage_bucket": {
        "id": "{name}",
        "public_access_prevention": "inherited",
        "lifecycle_rule.condition.with_state": "ANY",
        "project_number": "{project_number}",
        "rpo": "DEFAULT",
        "self_link": "https://www.googleapis.com/storage/v1/b/{name}",
        "url": "gs://{name}",
    },
    "google_storage_bucket_iam_member": {"id": "b/{bucket}/{role}/{member}"},
    "google_storage_bucket_object": {
        "id": "{bucket}-{name}",
        "generation": "{number}",
        "media_link": "https://storage.googleapis.com/download/storage/v1/b/{bucket}/o/{name}?alt=media",
        "output_name": "{name}",
        "self_link": "https://www.googleapis.com/storage/v1/b/{bucket}/o/{name}",
        "storage_class": "STANDARD",
    },
    "google_tpu_v2_queued_resource": {"id": "projects/{project}/locations/{zone}/queuedResources/{name}"},
    "google_tpu_v2_vm": {
        "id": "projects/{project}/locations/{zone}/nodes/{name}",
        "api_version": "V2",
        "health": "HEALTHY",
        "state": "READY",
    },
    # Data sources
    "data.google_client_config": {
        "id": "projects/{project}/regions/{region}/zones/{zone}",
        "access_token": "ya29.{hex}",
    },
    "data.google_compute_default_service_account": {
        "id": "projects/{project}/serviceAccounts/{project_number}-compute@developer.gserviceaccount.com",
        "email": "{project_number}-compute@developer.gserviceaccount.com",
        "member": "serviceAccount:{project_number}-compute@developer.gserviceaccount.com",
    },
    "data.google_project": {"id": "projects/{project_id}", "name": "{project_id}", "number": "{project_number}"},
    "data.google_storage_project_service_account": {
        "id": "service-{project_number}@gs-project-accounts.iam.gserviceaccount.com",
        "email_address": "service-{project_number}@gs-project-accounts.iam.gserviceaccount.com",
        "member": "serviceAccount:service-{project_number}@gs-project-accounts.iam.gserviceaccount.com",
    },
}


def filled(type_name: str, block: Object, value: Object) -> Object:
    """`value` with every unknown known: by FORMS, else what suits the type."""
    words = _words(type_name, value)
    forms = FORMS.get(type_name, {})
    return _filled(block, value, words, lambda path: forms.get(path), "")


def _filled(block: Object, value: Object, words: Words, form: Callable[[str], str | None], path: str) -> Object:
    out = dict(value)
    for name, attribute in block.get("attributes", {}).items():
        if attribute.get("write_only"):
            out[name] = None
        elif out.get(name) is UNKNOWN:
            text = form(path + name)
            out[name] = _typed(attribute, text.format_map(words)) if text else _guess(attribute, name, words)
        else:
            out[name] = _known(out.get(name), attribute["type"])
    for name, nested in block.get("block_types", {}).items():
        inner = out.get(name)
        if inner is UNKNOWN:
            out[name] = [no_value(nested["block"])] if nested.get("min_items") else []
        elif isinstance(inner, dict):
            out[name] = _filled(nested["block"], inner, words, form, f"{path}{name}.")
        elif isinstance(inner, list):
            out[name] = [_filled(nested["block"], each, words, form, f"{path}{name}.") for each in inner]
    return out


def _typed(attribute: Object, text: str) -> object:
    return int(text) if attribute["type"] == "number" else text


def _guess(attribute: Object, name: str, words: Words) -> object:
    type_ = attribute["type"]
    if type_ == "string" and (name.endswith("_time") or name == "creation_timestamp"):
        return CREATED
    if type_ == "string" and not attribute.get("optional"):
        return f"{name}-{words['hex']}"  # nothing may depend on what it looks like
    allowed = hint(attribute, "enum")
    return allowed[0] if allowed and type_ == "string" else _zero(type_)


def _zero(type_: Any) -> object:
    plain: dict[str, object] = {"string": "", "number": 0, "bool": False}
    if isinstance(type_, str):
        return plain.get(type_)
    return {} if type_[0] == "map" else [] if type_[0] in ("list", "set") else None


def _known(value: object, type_: Any) -> object:
    """Without the unknowns inside of it."""
    if value is UNKNOWN:
        return _zero(type_)
    inner: Any = type_[1] if isinstance(type_, list) else None
    if isinstance(value, dict):
        return {key: _known(each, inner[key] if type_[0] == "object" else inner) for key, each in value.items()}
    if isinstance(value, list):
        return [_known(each, inner) for each in value]
    return value


class Words(dict[str, str]):
    """A form may name an argument that nobody gave."""

    def __missing__(self, key: str) -> str:
        return ""


def _words(type_name: str, value: Object) -> Words:
    texts = {name: each for name, each in value.items() if isinstance(each, str)}
    digest = hashlib.sha256(repr((type_name, sorted(texts.items()))).encode()).hexdigest()
    words = Words(texts)
    for name, text in texts.items():
        words[f"{name}_base"] = text.rpartition("/")[2]
    words["format_lower"] = texts.get("format", "").lower()
    words["hex"] = digest[:10]
    words["number"] = str(10**15 + int(digest[:12], 16))
    words["project_number"] = PROJECT_NUMBER
    words["uuid"] = str(uuid.UUID(digest[:32]))
    for name, pattern in _FROM_ID.items():
        if not words[name] and (found := re.search(pattern, " ".join(texts.values()))):
            words[name] = found[1]
    if "ip_cidr_range" in texts:
        words["gateway"] = str(ipaddress.ip_network(texts["ip_cidr_range"])[1])
    words["id"] = FORMS.get(type_name, {}).get("id", f"{type_name}/{{hex}}").format_map(words)
    return words


# An argument that is not given may be part of another one's id, as a secret's project of the secret's.
_FROM_ID = {"project": r"\bprojects/([^/ ]+)", "location": r"\blocations/([^/ ]+)", "region": r"\bregions/([^/ ]+)"}
