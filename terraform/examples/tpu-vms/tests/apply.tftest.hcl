variables {
  project_id = "demo-project"
}

run "apply" {
  assert {
    condition     = length(output.launcher.nodes) == 2 && output.launcher.service_account != null
    error_message = "The platform must be there, with both nodes."
  }
}
