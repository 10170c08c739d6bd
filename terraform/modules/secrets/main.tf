locals {
  readers = merge([
    for key, secret in var.secrets : {
      for worker in coalesce(secret.teams, keys(var.workers)) : "${key}/${worker}" => { secret = key, worker = worker }
    }
  ]...)
}

resource "google_secret_manager_secret" "this" {
  for_each  = var.secrets
  project   = var.project_id
  secret_id = "${var.name}-${each.key}"
  labels    = var.labels

  replication {
    auto {}
  }
}

# why: an unattended job has no client that could hand it its secrets, so its worker reads them itself.
resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.readers
  project   = var.project_id
  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = var.workers[each.value.worker].member
}
