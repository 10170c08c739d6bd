locals {
  control_name = "${var.project_id}-${var.name}-control"
  jobs_name    = "${var.project_id}-${var.name}-jobs"
  names        = [local.control_name, local.jobs_name]
  bad_names = [
    for name in local.names : name
    if !can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", name)) || can(regex("^goog|g[o0][o0]gle", name))
  ]
  lease_days = 30 # condemned leases tell a late client for so long that its node is gone; no node lives as long
}

# platform.json, freeze.json, clusters.json and the functions' archives: what says how much may be spent.
resource "google_storage_bucket" "control" {
  project                     = var.project_id
  name                        = local.control_name
  location                    = upper(var.location) # as the API gives it back
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # nothing of anybody's is in it; the guard's freeze.json must not block a destroy

  # A few small files that seldom change: an overwritten platform.json can be had back for a month.
  versioning {
    enabled = true
  }
  soft_delete_policy {
    retention_duration_seconds = 0
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.bad_names) == 0
      error_message = "${join(" and ", local.bad_names)} cannot be a bucket: a name has 3 to 63 lower-case letters, digits, - and _, begins and ends with a letter or digit, and has no \"google\" in it. It is made of project_id and name: choose a shorter or another name."
    }
  }
}

resource "google_storage_bucket" "jobs" {
  project                     = var.project_id
  name                        = local.jobs_name
  location                    = upper(var.location)
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy

  # A lease is rewritten every minute: each old copy would be paid for.
  versioning {
    enabled = false
  }
  soft_delete_policy {
    retention_duration_seconds = 0 # default: a week of every deleted object
  }

  # Age counts from an object's last write, so a lease that is renewed stays.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = local.lease_days
      matches_prefix = ["leases/"]
    }
  }
  # Jobs and blobs alike: a prefix has no wildcard, owners/*/jobs/ cannot be said, and neither has a suffix of its own.
  # A blob that is missing is sent again by the next call.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.job_days
      matches_prefix = ["owners/"]
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.bad_names) == 0
      error_message = "${join(" and ", local.bad_names)} cannot be a bucket: see the control bucket's message."
    }
  }
}

# why: reads platform.json (how to use the platform) and freeze.json (whether anything may be started).
resource "google_storage_bucket_iam_member" "control_reader" {
  for_each = var.control_readers
  bucket   = google_storage_bucket.control.name
  role     = "roles/storage.objectViewer"
  member   = each.value
}

# why: lifts a freeze, and puts platform.json right by hand.
resource "google_storage_bucket_iam_member" "control_writer" {
  for_each = var.control_writers
  bucket   = google_storage_bucket.control.name
  role     = "roles/storage.objectUser"
  member   = each.value
}

# why: the budget guard writes freeze.json and the idle shutdown clusters.json; neither what users trust, nor its own code.
resource "google_storage_bucket_iam_member" "control_record" {
  for_each = var.control_records
  bucket   = google_storage_bucket.control.name
  role     = "roles/storage.objectUser"
  member   = each.value.member

  condition {
    title       = "one_record_only"
    description = "This one object of the control bucket."
    expression  = "resource.name == \"projects/_/buckets/${google_storage_bucket.control.name}/objects/${each.value.object}\""
  }
}

# why: jobs, their results and logs, and the leases that say who uses a node, are objects that each party reads and replaces.
resource "google_storage_bucket_iam_member" "jobs_user" {
  for_each = var.jobs_users
  bucket   = google_storage_bucket.jobs.name
  role     = "roles/storage.objectUser"
  member   = each.value
}
