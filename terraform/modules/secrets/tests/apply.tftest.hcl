variables {
  name       = "tpu"
  project_id = "demo-project"
  secrets    = { token = {} }
  workers    = { worker = { member = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" } }
}

run "apply" {
  assert {
    condition     = keys(output.ids) == ["token"] && output.ids.token != ""
    error_message = "Each secret must be known by its id."
  }
}
