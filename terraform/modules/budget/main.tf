locals {
  timeout_s = 300
  uri       = google_cloudfunctions2_function.this.service_config[0].uri
}

# Google's budget service gets its right to publish from the Budgets API, when the budget below names the topic.
resource "google_pubsub_topic" "this" {
  project = var.project_id
  name    = "${var.name}-budget"
  labels  = var.labels
}

resource "google_billing_budget" "this" {
  billing_account = var.budget.billing_account
  display_name    = "${var.name} in ${var.project_id}"

  budget_filter {
    calendar_period        = "MONTH"
    credit_types_treatment = "INCLUDE_ALL_CREDITS"
    projects               = ["projects/${var.project_number}"] # the API answers with the number, whatever was asked
  }

  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = var.budget.thresholds
    content {
      spend_basis       = "CURRENT_SPEND"
      threshold_percent = threshold_rules.value
    }
  }

  all_updates_rule {
    disable_default_iam_recipients   = false # without any mail Google does not tell the topic of thresholds
    monitoring_notification_channels = var.channels
    pubsub_topic                     = google_pubsub_topic.this.id
    schema_version                   = "1.0"
  }
}

resource "google_cloudfunctions2_function" "this" {
  project     = var.project_id
  location    = var.region
  name        = "${var.name}-budget-guard"
  description = "Freezes platform ${var.name} when its budget is used up."
  labels      = var.labels

  build_config {
    runtime         = "python312"
    entry_point     = "budget_guard"
    service_account = var.accounts.build.name
    source {
      storage_source {
        bucket     = var.archive.bucket
        object     = var.archive.object
        generation = var.archive.generation
      }
    }
  }

  service_config {
    available_memory = "256Mi"
    environment_variables = merge(var.environment, {
      BUDGET_ID        = reverse(split("/", google_billing_budget.this.name))[0] # another budget can name this topic too
      CALLER           = var.accounts.push.email
      GUARD_DRAIN_BUSY = tostring(var.budget.drain_busy)
    })
    ingress_settings                 = "ALLOW_INTERNAL_ONLY" # Pub/Sub of the same project counts as internal
    max_instance_count               = 1
    max_instance_request_concurrency = 1
    min_instance_count               = 0
    service_account_email            = var.accounts.budget_guard.email
    timeout_seconds                  = local.timeout_s
  }
}

# why: Pub/Sub pushes the budget's notifications to the budget guard as this account; nobody else may call it.
resource "google_cloud_run_v2_service_iam_member" "push" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this.name # the Cloud Run service of a function has the function's name
  role     = "roles/run.invoker"
  member   = var.accounts.push.member
}

resource "google_pubsub_subscription" "this" {
  project              = var.project_id
  name                 = "${var.name}-budget"
  topic                = google_pubsub_topic.this.id
  labels               = var.labels
  ack_deadline_seconds = local.timeout_s + 20 # the function's own timeout answers first
  # A newer notification comes several times a day: what could not be delivered for a day is out of date. So there is
  # no dead-letter topic either; a failed delivery is in the function's log, and there is an alert on it.
  message_retention_duration = "86400s"

  expiration_policy {
    ttl = "" # never, however long nothing comes
  }

  push_config {
    push_endpoint = local.uri
    oidc_token {
      service_account_email = var.accounts.push.email
      audience              = local.uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push]
}
