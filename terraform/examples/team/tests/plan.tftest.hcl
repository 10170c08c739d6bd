variables {
  billing_account = "012345-6789AB-CDEF01"
  project_id      = "demo-project"
}

run "teams" {
  command = plan

  assert {
    condition     = output.launcher.service_account == null && keys(output.launcher.service_accounts) == ["speech", "vision"]
    error_message = "Each team must have an account of its own, and nobody a shared one."
  }
  assert {
    condition     = join(",", output.launcher.zones) == "us-central1-a,us-west4-a,us-central1-b,us-east5-a"
    error_message = "The zones must be those of both pools, in their order."
  }
  assert {
    condition     = output.launcher.pools.sweep.keep_warm_s == 0 && output.launcher.pools.sweep.spot && output.launcher.pools.dev.shared
    error_message = "The pools must be as they are asked for."
  }
}

run "without_a_budget" {
  command = plan

  variables {
    billing_account = null
  }

  assert {
    condition     = length(output.launcher.service_accounts) == 2
    error_message = "The platform must do without a budget."
  }
}
