variables {
  accounts = {
    build         = { email = "idle-build@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-build@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-build@demo-project.iam.gserviceaccount.com" }
    idle_shutdown = { email = "idle-idle@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-idle@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-idle@demo-project.iam.gserviceaccount.com" }
    scheduler     = { email = "idle-scheduler@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-scheduler@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-scheduler@demo-project.iam.gserviceaccount.com" }
  }
  control_bucket = "demo-project-idle-control"
  jobs_bucket    = "demo-project-idle-jobs"
  labels         = { launcher-platform = "idle" }
  name           = "idle"
  project_id     = "demo-project"
  region         = "us-central1"
  zones          = ["us-central1-a", "us-west4-a"]
}

run "setup" {
  module {
    source = "./tests/setup"
  }
}

run "schedule_calls_with_a_token_made_for_the_function_and_its_source_is_pinned" {
  assert {
    condition     = google_cloud_scheduler_job.this.http_target[0].uri == google_cloudfunctions2_function.this.service_config[0].uri
    error_message = "The schedule calls something else."
  }
  assert {
    condition     = google_cloud_scheduler_job.this.http_target[0].oidc_token[0].audience == google_cloudfunctions2_function.this.service_config[0].uri
    error_message = "The token is not made for the function's own address."
  }
  assert {
    condition     = google_storage_bucket_object.archive.name == "functions/${data.archive_file.this.output_sha256}.zip"
    error_message = "The archive is not named by its content."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].generation == google_storage_bucket_object.archive.generation
    error_message = "The function would be built from whatever lies there."
  }
  assert {
    condition     = output.source.object == google_storage_bucket_object.archive.name && output.source.generation == google_storage_bucket_object.archive.generation
    error_message = "The guard would be built from another source."
  }
  assert {
    condition     = output.function.name == "idle-idle-shutdown" && output.function.uri == google_cloudfunctions2_function.this.service_config[0].uri
    error_message = "The output names another function."
  }
}
