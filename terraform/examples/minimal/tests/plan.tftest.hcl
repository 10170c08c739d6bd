variables {
  launcher_users = ["user:ada@example.com"]
  project_id     = "demo-project"
}

run "minimal" {
  command = plan

  assert {
    condition     = join(",", output.launcher.zones) == "us-central1-a" && keys(output.launcher.pools) == ["dev"]
    error_message = "There must be one pool, in one zone."
  }
  assert {
    condition     = length(output.launcher.nodes) == 0 && output.launcher.gke == null
    error_message = "Nothing that costs anything may stand."
  }
}
