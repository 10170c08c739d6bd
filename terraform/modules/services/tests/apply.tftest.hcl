variables {
  budget     = true
  gke        = false
  project_id = "demo-project"
  secrets    = false
}

run "apply" {
  assert {
    condition     = output.project_number == data.google_project.this.number
    error_message = "The project's number must be known after the apply."
  }
  assert {
    condition     = contains(keys(google_project_service.this), "pubsub.googleapis.com")
    error_message = "A budget needs Pub/Sub."
  }
}
