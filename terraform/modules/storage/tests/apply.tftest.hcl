variables {
  control_readers = { worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  control_records = { guard = { member = "serviceAccount:tpu-guard@demo-project.iam.gserviceaccount.com", object = "freeze.json" } }
  control_writers = { operator = "user:op@example.com" }
  jobs_users      = { worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  location        = "us-central1"
  name            = "tpu"
  project_id      = "demo-project"
}

run "apply" {
  assert {
    condition     = output.control_bucket == "demo-project-tpu-control" && output.jobs_bucket == "demo-project-tpu-jobs"
    error_message = "Both buckets must be known by name."
  }
  assert {
    condition     = google_storage_bucket.control.location == "US-CENTRAL1" && google_storage_bucket.jobs.location == "US-CENTRAL1"
    error_message = "Both buckets must be where they were asked for."
  }
}

run "shorter_lives" {
  variables {
    job_days = 3
  }

  assert {
    condition     = contains([for rule in google_storage_bucket.jobs.lifecycle_rule : one(rule.condition).age], 3)
    error_message = "The age of jobs must be changeable."
  }
}
