variables {
  billing_account = "012345-6789AB-CDEF01"
  project_id      = "demo-project"
}

run "apply" {
  assert {
    condition     = alltrue([for email in values(output.launcher.service_accounts) : email != ""]) && length(output.launcher.service_accounts) == 2
    error_message = "Both teams must have an account that exists."
  }
}
