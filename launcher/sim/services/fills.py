"""What each service adds to a resource that somebody sent: names, times, numbers, and what the provider reads back."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from launcher.sim.google_calls import PROJECT_NUMBER
from launcher.sim.http import GoogleError
from launcher.sim.services.backend import COMPUTE, SIMULATOR, Call, invalid
from launcher.sim.state import Body

_CRON = re.compile(r"\S+( \S+){4}|every .+")
_NAT = {"endpointTypes": ["ENDPOINT_TYPE_VM"], "enableEndpointIndependentMapping": False, "autoNetworkTier": "PREMIUM"}
_NETWORK = {
    "routingConfig": {"routingMode": "REGIONAL", "bgpBestPathSelectionMode": "LEGACY"},
    "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
    "mtu": 1460,
}


def named(call: Call, body: Body) -> Body:
    """Nothing but its name."""
    return {**body, "name": call.name}


def standard(call: Call, body: Body) -> Body:
    """What most of Google's newer APIs add."""
    now = call.backend.now()
    return {"createTime": now, "updateTime": now, "uid": call.store.number(), "etag": "", **body, "name": call.name}


def repository(call: Call, body: Body) -> Body:
    """A repository of Artifact Registry."""
    scanning = {"enablementState": "SCANNING_DISABLED", "enablementStateReason": "Nothing is scanned here."}
    host = f"{call.location}-{str(body['format']).lower()}.pkg.dev"
    return {
        "sizeBytes": "0",
        "registryUri": f"{host}/{call.backend.project}/{call.id}",
        "vulnerabilityScanningConfig": scanning,
        **standard(call, body),
    }


def budget(call: Call, body: Body) -> Body:
    """A budget. What was not sent stays away (ownershipScope): a default would be a difference in the next plan."""
    period = {} if "customPeriod" in body.get("budgetFilter", {}) else {"calendarPeriod": "MONTH"}
    return standard(call, {**body, "budgetFilter": {**period, **body.get("budgetFilter", {})}})


def monitored(call: Call, body: Body) -> Body:
    """Dashboards, notification channels, alert policies; a policy's conditions get names."""
    who = f"simulated@{call.backend.project}.iam.gserviceaccount.com"
    record = {"mutateTime": call.backend.now(), "mutatedBy": who}
    if "conditions" in body:
        named = [{"name": f"{call.name}/conditions/{call.store.number()}", **each} for each in body["conditions"]]
        body = {**body, "conditions": named}
    if call.kind.leaf == "notificationChannels":
        body = {"verificationStatus": "VERIFICATION_STATUS_UNSPECIFIED", **body}
    return standard(call, {"creationRecord": record, **body})


def channel_deleted(call: Call, verb: str) -> None:
    """400 for a notification channel that a policy uses, unless the deletion is forced."""
    prefix = f"{call.service.host}/projects/{call.backend.project}/alertPolicies/"
    users = [
        body["name"]
        for key, body in call.store.resources.items()
        if key.startswith(prefix) and call.name in body.get("notificationChannels", [])
    ]
    if verb == "delete" and users and call.query.get("force") != "true":
        message = f"Cannot delete notification channel {call.name}: it is used by {', '.join(users)}."
        raise GoogleError(400, message, "FAILED_PRECONDITION", reason="failedPrecondition")


def metric(call: Call, body: Body) -> Body:
    """A log-based metric, known by its short name."""
    kind = f"logging.googleapis.com/user/{call.id}"
    descriptor = {"name": f"projects/{call.backend.project}/metricDescriptors/{kind}", "type": kind}
    now = call.backend.now()
    described = {"metricDescriptor": {**body.get("metricDescriptor", {}), **descriptor}}
    return {"createTime": now, "updateTime": now, **body, **described, "name": call.id}


def account(call: Call, body: Body) -> Body:
    """A service account. It is created by its short id and known by its e-mail address ever after."""
    short = str(call.id)
    if "@" not in short:
        call.id = f"{short}@{call.backend.project}.iam.gserviceaccount.com"
        if call.key in call.store.resources:
            raise call.taken()
    email = str(call.id)
    fixed = {"name": call.name, "email": email, "projectId": call.backend.project}
    number = call.store.number()
    return {"uniqueId": number, "oauth2ClientId": number, "etag": "", **body, **fixed}


def role(call: Call, body: Body) -> Body:
    """A custom role."""
    return {"etag": "", **body, "name": call.name}


def job(call: Call, body: Body) -> Body:
    """A job of Cloud Scheduler: one target, and a schedule in cron's form."""
    if sum(target in body for target in ("httpTarget", "pubsubTarget", "appEngineHttpTarget")) != 1:
        raise invalid("Job must have exactly one target.")
    if not _CRON.fullmatch(str(body["schedule"]).strip()):
        raise invalid(f"Schedule or time zone is invalid: {body['schedule']!r}")
    return {"state": "ENABLED", "userUpdateTime": call.backend.now(), **standard(call, body)}


def subscription(call: Call, body: Body) -> Body:
    """A subscription; its topic must be there."""
    if f"{call.service.host}/{body['topic']}" not in call.store.resources:
        topic = str(body["topic"]).rpartition("/")[2]
        raise GoogleError(404, f"Resource not found (resource={topic}).", reason="notFound")
    return named(call, body)


def function(call: Call, body: Body) -> Body:
    """A function of the second generation, served by a Cloud Run service of the same name."""
    region, project = call.location, call.backend.project
    uri = f"https://{call.id}-abc-{_region_code(region)}.a.run.app"
    build = {
        **body["buildConfig"],
        "build": f"projects/{PROJECT_NUMBER}/locations/{region}/builds/{call.store.number()}",
        "dockerRepository": f"projects/{project}/locations/{region}/repositories/gcf-artifacts",
    }
    old = int(body.get("serviceConfig", {}).get("revision", "-0").rpartition("-")[2])
    serving = {
        "availableCpu": "0.1666",
        **body.get("serviceConfig", {}),
        "uri": uri,
        "service": f"projects/{project}/locations/{region}/services/{call.id}",
        "revision": f"{call.id}-{old + 1:05}",
    }
    added = {"state": "ACTIVE", "environment": "GEN_2", "url": uri}
    return {**standard(call, body), "buildConfig": build, "serviceConfig": serving, **added}


def _region_code(region: str) -> str:
    """us-central1: uc; europe-west4: ew4. Of the shape of Google's."""
    return "".join(part[0] for part in region.split("-")) + region[-1].replace("1", "")


def function_changed(call: Call, verb: str) -> None:
    """Its Cloud Run service comes and goes with it."""
    name = f"run.googleapis.com/{call.parent}/services/{call.id}"
    if verb == "delete":
        call.store.forget(name)
        return
    uri = call.existing()["serviceConfig"]["uri"]
    call.store.resources[name] = standard(call, {"uri": uri}) | {"name": f"{call.parent}/services/{call.id}"}


def compute(call: Call, body: Body) -> Body:
    """What every resource of Compute Engine has."""
    link = f"{SIMULATOR}/{COMPUTE}/compute/v1/{call.name}"
    region = {"region": f"{SIMULATOR}/{COMPUTE}/compute/v1/{call.parent}"} if "/regions/" in call.parent else {}
    return {
        **region,
        "id": call.store.number(),
        "creationTimestamp": call.backend.now(),
        "fingerprint": "",
        "status": "READY",
        **body,
        "name": call.id,
        "kind": f"compute#{call.kind.leaf.removesuffix('s')}",
        "selfLink": link,
        "selfLinkWithId": link,
    }


def network(call: Call, body: Body) -> Body:
    return {**_NETWORK, **compute(call, body)}


def subnetwork(call: Call, body: Body) -> Body:
    try:
        cidr = ipaddress.IPv4Network(body["ipCidrRange"])
    except ValueError as error:
        field = f"Invalid value for field 'resource.ipCidrRange': '{body['ipCidrRange']}'. {error}."
        raise invalid(field) from error
    added = {
        "gatewayAddress": str(cidr[1]),
        "privateIpv6GoogleAccess": "DISABLE_GOOGLE_ACCESS",
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
    }
    return {**added, **network(call, body)}


def router(call: Call, body: Body) -> Body:
    return compute(call, {**body, "nats": [{**_NAT, **each} for each in body.get("nats") or []]})


def firewall(call: Call, body: Body) -> Body:
    return {"disabled": False, "direction": "INGRESS", **compute(call, body)}


def in_use(call: Call, verb: str) -> None:
    """400 for a network or subnetwork that something is still in."""
    if verb != "delete":
        return
    for key, body in call.store.resources.items():
        name = key.partition("/")[2]
        used: list[Any] = [body.get("network"), body.get("subnetwork")]
        if name != call.name and any(str(each).endswith(call.name) for each in used):
            message = f"The {call.kind.leaf.removesuffix('s')} resource '{call.name}' is already being used by '{name}'"
            raise GoogleError(400, message, "FAILED_PRECONDITION", reason="resourceInUseByAnotherResource")
