variables {
  launcher_users = ["user:ada@example.com"]
  project_id     = "demo-project"
}

run "apply" {
  assert {
    condition     = output.launcher.gke.cluster == "tpu" && output.launcher.service_account != null
    error_message = "The platform must be there, and its cluster too."
  }
}
