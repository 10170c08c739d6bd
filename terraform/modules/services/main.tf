locals {
  services = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com", # builds the functions
      "cloudfunctions.googleapis.com",
      "cloudresourcemanager.googleapis.com", # the project's number and its IAM policy
      "cloudscheduler.googleapis.com",
      "compute.googleapis.com",
      "iam.googleapis.com",
      "iap.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "run.googleapis.com", # functions of the 2nd generation run there
      "serviceusage.googleapis.com",
      "storage.googleapis.com",
      "tpu.googleapis.com",
    ],
    var.budget ? ["billingbudgets.googleapis.com", "pubsub.googleapis.com"] : [],
    var.gke ? ["container.googleapis.com"] : [],
    var.secrets ? ["secretmanager.googleapis.com"] : [],
  ))
}

resource "google_project_service" "this" {
  for_each = local.services
  project  = var.project_id
  service  = each.value

  # Something else in the project may use it too.
  disable_on_destroy = false
}

data "google_project" "this" {
  project_id = var.project_id

  # In a new project it cannot be read before the Resource Manager's API is on.
  depends_on = [google_project_service.this]
}
