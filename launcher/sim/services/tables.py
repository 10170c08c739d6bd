"""One small table per service: where its resources are, how they are named, and what the server adds."""

from __future__ import annotations

from launcher.sim.http import GoogleError
from launcher.sim.services import effects, fills, gke, operations, secrets
from launcher.sim.services.backend import COMPUTE, Call, Kind, Service
from launcher.sim.services.handler import finished
from launcher.sim.state import Body

_LOCATION = "projects/*/locations/*"
_NUMBER = r"[0-9]+"
_ANY_NAME = r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
_GKE_NAME = r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"


def _delete_role(call: Call) -> Body:
    """A deleted role can be had back for a week; its id is taken until then."""
    found = call.existing()
    found["deleted"] = True
    call.store.save()
    return found


def _undelete_role(call: Call) -> Body:
    found = call.existing()
    if not found.pop("deleted", False):
        message = f"The role {call.name} is not deleted."
        raise GoogleError(400, message, "FAILED_PRECONDITION", reason="failedPrecondition")
    return finished(call, "update", found)


_SERVICES = (
    Service(
        "artifactregistry.googleapis.com",
        "Artifact Registry API",
        {
            "v1": (
                Kind(
                    f"{_LOCATION}/repositories", fills.repository, "?repository_id", required=("format",), policy="GET"
                ),
            )
        },
        operations.long_running,
        ("create", "delete"),
        missing="Requested entity was not found.",
        taken="the repository already exists",
    ),
    Service(
        "billingbudgets.googleapis.com",
        "Cloud Billing Budget API",
        {"v1": (Kind("billingAccounts/*/budgets", fills.budget, required=("amount",), permission="billing.budgets"),)},
        missing="Requested entity was not found.",
    ),
    Service(
        "cloudfunctions.googleapis.com",
        "Cloud Functions API",
        {
            "v2": (
                Kind(
                    f"{_LOCATION}/functions",
                    fills.function,
                    "?functionId",
                    required=("buildConfig",),
                    policy="GET",
                    changed=fills.function_changed,
                ),
            )
        },
        operations.long_running,
    ),
    Service(
        "cloudscheduler.googleapis.com",
        "Cloud Scheduler API",
        {
            "v1": (
                Kind(
                    f"{_LOCATION}/jobs",
                    fills.job,
                    "name",
                    r"[A-Za-z0-9_-]{1,500}",
                    required=("schedule",),
                    actions={"pause": effects.pause, "resume": effects.resume, "run": effects.run},
                ),
            )
        },
        missing="Job not found.",
        taken="Job {name} already exists.",
    ),
    Service(
        COMPUTE,
        "Compute Engine API",
        {
            "compute/v1": (
                Kind("projects/*/global/firewalls", fills.firewall, "name", required=("network",), refers=("network",)),
                Kind("projects/*/global/networks", fills.network, "name", changed=fills.in_use),
                Kind("projects/*/regions/*/addresses", fills.compute, "name"),
                Kind("projects/*/regions/*/resourcePolicies", fills.compute, "name"),
                Kind("projects/*/regions/*/routers", fills.router, "name", required=("network",), refers=("network",)),
                Kind(
                    "projects/*/regions/*/subnetworks",
                    fills.subnetwork,
                    "name",
                    required=("network", "ipCidrRange"),
                    refers=("network",),
                    changed=fills.in_use,
                ),
                Kind("projects/*/zones/*/instanceGroupManagers", fills.compute, None),
            )
        },
        operations.of_compute,
        missing="The resource '{name}' was not found",
        taken="The resource '{name}' already exists",
    ),
    Service(
        "container.googleapis.com",
        "Kubernetes Engine API",
        {
            "v1": (
                Kind(
                    f"{_LOCATION}/clusters",
                    gke.cluster,
                    "name",
                    _GKE_NAME,
                    "cluster",
                    refers=("network", "subnetwork"),
                    shown=gke.with_pools,
                    changed=gke.cluster_changed,
                    actions={
                        "PUT": gke.update_cluster,
                        "setMaintenancePolicy": gke.set_field,
                        "setResourceLabels": gke.set_field,
                    },
                ),
                Kind(
                    f"{_LOCATION}/clusters/*/nodePools",
                    gke.node_pool,
                    "name",
                    _GKE_NAME,
                    "nodePool",
                    changed=gke.pool_changed,
                    actions={
                        "PUT": gke.update_pool,
                        "setAutoscaling": gke.set_field,
                        "setManagement": gke.set_field,
                        "setSize": gke.set_size,
                    },
                    permission="container.clusters",
                ),
            )
        },
        operations.of_container,
        missing="Not found: {name}.",
        taken="Already exists: {name}.",
    ),
    Service(
        "iam.googleapis.com",
        "Identity and Access Management (IAM) API",
        {
            "v1": (
                Kind(
                    "projects/*/roles",
                    fills.role,
                    "roleId",
                    r"[A-Za-z0-9_.]{3,64}",
                    "role",
                    actions={"DELETE": _delete_role, "undelete": _undelete_role},
                    missing="The role named {name} was not found.",
                    taken="A role named {id} in {parent} already exists.",
                ),
                Kind(
                    "projects/*/serviceAccounts",
                    fills.account,
                    "accountId",
                    r"[a-z]([-a-z0-9]{4,28}[a-z0-9])",
                    "serviceAccount",
                    policy="POST",
                    listed="accounts",
                    missing="Unknown service account",
                    taken="Service account {id} already exists within project {parent}.",
                ),
            )
        },
    ),
    Service(
        "logging.googleapis.com",
        "Cloud Logging API",
        {
            "v2": (
                Kind(
                    "projects/*/metrics",
                    fills.metric,
                    "name",
                    r"[A-Za-z0-9_.,+!*',()%/-]{1,100}",
                    required=("filter",),
                    permission="logging.logMetrics",
                ),
            )
        },
        missing="Metric {name} does not exist.",
        taken="Metric {name} already exists.",
    ),
    Service(
        "monitoring.googleapis.com",
        "Cloud Monitoring API",
        {
            "v1": (Kind("projects/*/dashboards", fills.monitored, required=("displayName",)),),
            "v3": (
                Kind("projects/*/alertPolicies", fills.monitored, required=("conditions", "combiner")),
                Kind(
                    "projects/*/notificationChannels",
                    fills.monitored,
                    required=("type",),
                    changed=fills.channel_deleted,
                ),
            ),
        },
        missing="Cannot find {name}.",
    ),
    Service(
        effects.PUBSUB,
        "Cloud Pub/Sub API",
        {
            "v1": (
                Kind(
                    "projects/*/subscriptions",
                    fills.subscription,
                    "PUT",
                    _ANY_NAME,
                    required=("topic",),
                    policy="GET",
                ),
                Kind(
                    "projects/*/topics",
                    fills.named,
                    "PUT",
                    _ANY_NAME,
                    policy="GET",
                    actions={"publish": effects.publish},
                ),
            )
        },
        missing="Resource not found (resource={id}).",
        taken="Resource already exists in the project (resource={id}).",
    ),
    Service(
        "run.googleapis.com",
        "Cloud Run Admin API",
        {"v2": (Kind(f"{_LOCATION}/services", fills.standard, None, policy="GET"),)},
        operations.long_running,
    ),
    Service(
        "secretmanager.googleapis.com",
        "Secret Manager API",
        {
            "v1": (
                Kind(
                    "projects/*/secrets",
                    secrets.secret,
                    "?secretId",
                    r"[A-Za-z0-9_-]{1,255}",
                    required=("replication",),
                    policy="GET",
                    actions={"addVersion": secrets.add_version},
                    changed=secrets.deleted,
                ),
                Kind(
                    "projects/*/secrets/*/versions",
                    secrets.version,
                    None,
                    _NUMBER,
                    actions={
                        "GET": secrets.get,
                        "access": secrets.access,
                        "destroy": secrets.destroy,
                        "disable": secrets.disable,
                        "enable": secrets.enable,
                    },
                ),
            )
        },
        missing="Secret [{name}] not found or has no versions.",
        taken="Secret [{name}] already exists.",
    ),
)
#: host -> service.
SERVICES = {service.host: service for service in _SERVICES}
