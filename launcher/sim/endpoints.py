"""Where clients that nobody here wrote find each of the simulator's services: environment variables."""

from __future__ import annotations

#: Terraform's products whose endpoint is below /<host>/.
_PRODUCTS = {
    "ARTIFACT_REGISTRY": "artifactregistry.googleapis.com/v1/",
    "BILLING_BUDGETS": "billingbudgets.googleapis.com/v1/",
    "CLOUDFUNCTIONS2": "cloudfunctions.googleapis.com/v2/",
    "CLOUD_BILLING": "cloudbilling.googleapis.com/v1/",
    "CLOUD_RUN_V2": "run.googleapis.com/v2/",
    "CLOUD_SCHEDULER": "cloudscheduler.googleapis.com/v1/",
    "COMPUTE": "compute.googleapis.com/compute/v1/",
    "CONTAINER": "container.googleapis.com/v1/",
    "IAM": "iam.googleapis.com/v1/",
    "IAM_BETA": "iam.googleapis.com/v1/",
    "LOGGING": "logging.googleapis.com/v2/",
    "MONITORING": "monitoring.googleapis.com/",  # with no version
    "PUBSUB": "pubsub.googleapis.com/v1/",
    "RESOURCE_MANAGER": "cloudresourcemanager.googleapis.com/v1/",
    "RESOURCE_MANAGER_V3": "cloudresourcemanager.googleapis.com/v3/",
    "SECRET_MANAGER": "secretmanager.googleapis.com/v1/",
    "SERVICE_USAGE": "serviceusage.googleapis.com/v1/",
}


#: gcloud's names of the APIs that it is pointed at with a host alone.
_GCLOUD = ("ARTIFACTREGISTRY", "CLOUDSCHEDULER", "CONTAINER", "IAM", "LOGGING", "MONITORING", "PUBSUB", "SECRETMANAGER")


def of_clients(url: str, project: str) -> dict[str, str]:
    """For gcloud and Google's storage libraries; `url` is the simulator's, without a slash at its end."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": f"{url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/",
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"{url}/{api.lower()}.googleapis.com/" for api in _GCLOUD},
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{url}/compute.googleapis.com/compute/v1/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": f"{url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": f"{url}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": project,
        "GOOGLE_CLOUD_PROJECT": project,
    }


def of_terraform(url: str, project: str) -> dict[str, str]:
    """For Google's Terraform providers, and the variable that every example of a platform has."""
    return {
        **{f"GOOGLE_{product}_CUSTOM_ENDPOINT": f"{url}/{path}" for product, path in _PRODUCTS.items()},
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT": f"{url}/storage/v1/",
        "GOOGLE_TPU_V2_CUSTOM_ENDPOINT": f"{url}/v2/",
        # The provider looks for credentials unless it has a token; the simulator asks for none.
        "GOOGLE_OAUTH_ACCESS_TOKEN": "simulated",
        "GOOGLE_PROJECT": project,
        "TF_VAR_project_id": project,
    }
