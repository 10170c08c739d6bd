variables {
  location   = "us-central1"
  name       = "tpu"
  project_id = "demo-project"
  readers    = { worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  writers    = { build = "serviceAccount:tpu-build@demo-project.iam.gserviceaccount.com" }
}

run "apply" {
  assert {
    condition     = output.images == "us-central1-docker.pkg.dev/demo-project/tpu"
    error_message = "The Docker repository must be known by its address."
  }
  assert {
    condition     = google_artifact_registry_repository_iam_member.python_reader["worker"].member == var.readers.worker
    error_message = "Workers must be able to install packages."
  }
}
