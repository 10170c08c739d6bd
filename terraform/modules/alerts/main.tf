locals {
  # What the functions log: one entry for each pass, one for each error (launcher/fleet/reaper.py).
  service  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.idle_shutdown_function}\""
  services = var.budget_guard_function == null ? local.service : "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"${var.idle_shutdown_function}\" OR \"${var.budget_guard_function}\")"
  passes   = "${local.service} AND jsonPayload.event=\"pass\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.enabled ? var.emails : [])
  project      = var.project_id
  type         = "email"
  display_name = each.value
  labels       = { email_address = each.value }
  user_labels  = var.labels
}
