variables {
  budget     = false
  gke        = false
  project_id = "demo-project"
  secrets    = false
}

run "minimal" {
  command = plan

  assert {
    condition     = alltrue([for service in google_project_service.this : service.disable_on_destroy == false])
    error_message = "An API that something else in the project may use must stay on after a destroy."
  }
  assert {
    condition     = length(setintersection(keys(google_project_service.this), ["tpu.googleapis.com", "storage.googleapis.com", "iap.googleapis.com"])) == 3
    error_message = "The APIs that launcher doctor asks for must be on."
  }
  assert {
    condition = length(setintersection(keys(google_project_service.this), [
      "billingbudgets.googleapis.com", "container.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com",
    ])) == 0
    error_message = "What the platform does not use must not be switched on."
  }
}

run "everything" {
  command = plan
  variables {
    budget  = true
    gke     = true
    secrets = true
  }

  assert {
    condition = length(setintersection(keys(google_project_service.this), [
      "billingbudgets.googleapis.com", "container.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com",
    ])) == 4
    error_message = "Budget, GKE and secrets need their APIs."
  }
}

run "display_name_for_an_id" {
  command = plan
  variables {
    project_id = "Demo Project"
  }
  expect_failures = [var.project_id]
}
