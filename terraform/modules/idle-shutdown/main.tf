locals {
  timeout_s = 300 # of one pass; the next one starts when the schedule says so, and finishes what this one left

  # What the budget guard's function needs too. Limits and the label come from here, never from a bucket.
  environment = {
    BUCKET         = var.jobs_bucket
    CONTROL_BUCKET = var.control_bucket
    DRAIN_S        = tostring(var.settings.drain_s)
    DRY_RUN        = tostring(var.settings.dry_run)
    GRACE_S        = tostring(var.settings.grace_s)
    MAX_LIFETIME_S = tostring(var.settings.max_lifetime_s)
    PLATFORM       = var.name
    PROJECT        = var.project_id
    ZONES          = join(",", var.zones)
  }
  gke = var.gke == null ? {} : {
    GKE_CLUSTER     = "${var.gke.location}/${var.gke.cluster}"
    GKE_DELETE_IDLE = tostring(var.gke.delete_idle)
    GKE_IDLE_S      = tostring(var.gke.idle_s)
  }
  uri = google_cloudfunctions2_function.this.service_config[0].uri
}

resource "google_cloudfunctions2_function" "this" {
  project     = var.project_id
  location    = var.region
  name        = "${var.name}-idle-shutdown"
  description = "Deletes the TPU nodes of platform ${var.name} that nobody uses."
  labels      = var.labels

  build_config {
    runtime         = "python312"
    entry_point     = "idle_shutdown"
    service_account = var.accounts.build.name
    source {
      storage_source {
        bucket     = var.control_bucket
        object     = google_storage_bucket_object.archive.name
        generation = google_storage_bucket_object.archive.generation # these bytes, not what somebody put there later
      }
    }
  }

  service_config {
    available_memory                 = "256Mi" # 90 MiB in use after a pass over 40 nodes
    environment_variables            = merge(local.environment, local.gke, { CALLER = var.accounts.scheduler.email })
    ingress_settings                 = "ALLOW_INTERNAL_ONLY" # Cloud Scheduler of the same project counts as internal
    max_instance_count               = 1
    max_instance_request_concurrency = 1
    min_instance_count               = 0
    service_account_email            = var.accounts.idle_shutdown.email
    timeout_seconds                  = local.timeout_s
  }
}

# why: Cloud Scheduler calls the idle-shutdown function as this account; nobody else may.
resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this.name # the Cloud Run service of a function has the function's name
  role     = "roles/run.invoker"
  member   = var.accounts.scheduler.member
}

resource "google_cloud_scheduler_job" "this" {
  project          = var.project_id
  region           = var.region
  name             = "${var.name}-idle-shutdown"
  description      = "One pass of the idle shutdown of platform ${var.name}."
  schedule         = var.settings.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.timeout_s + 20}s" # the function's own timeout answers first

  retry_config {
    retry_count = 1
  }

  http_target {
    http_method = "POST"
    uri         = local.uri
    oidc_token {
      service_account_email = var.accounts.scheduler.email
      audience              = local.uri
    }
  }

  # A first call that may not be made yet would be an error in the log of every new platform.
  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}
