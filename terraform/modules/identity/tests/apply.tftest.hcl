variables {
  budget          = true
  gke             = true
  gke_delete_idle = true
  launcher_users  = ["user:ada@example.com"]
  name            = "tpu"
  operators       = ["user:grace@example.com"]
  project_id      = "demo-project"
}

run "apply" {
  assert {
    condition = alltrue([
      for account in [output.workers["worker"], output.idle_shutdown, output.budget_guard, output.scheduler, output.push, output.build, output.gke_nodes] :
      account.email != "" && account.member != "" && account.name != ""
    ])
    error_message = "Each account must be known by e-mail, member and name."
  }
  assert {
    condition     = google_project_iam_member.worker["worker"].member == output.workers["worker"].member
    error_message = "The worker's grants must be for the worker's account."
  }
  assert {
    condition     = google_project_iam_member.launcher["user:ada@example.com"].role == output.launcher_role
    error_message = "Launcher users must have the custom role."
  }
}

run "no_budget_and_no_cluster_any_more" {
  variables {
    budget          = false
    gke             = false
    gke_delete_idle = false
  }

  assert {
    condition     = output.budget_guard == null && output.push == null && length(google_project_iam_custom_role.reaper_gke) == 0
    error_message = "What was for the budget and the cluster must go with them."
  }
}
