variables {
  budget          = false
  gke             = false
  gke_delete_idle = false
  launcher_users  = ["user:ada@example.com", "group:ml@example.com"]
  name            = "tpu-lab"
  operators       = ["user:grace@example.com"]
  project_id      = "demo-project"
}

run "one_worker" {
  command = plan

  assert {
    condition     = [for account in google_service_account.worker : account.account_id] == ["tpu-lab-worker"]
    error_message = "Without teams there is one worker account."
  }
  assert {
    condition     = [google_service_account.idle_shutdown.account_id, google_service_account.scheduler.account_id, google_service_account.build.account_id] == ["tpu-lab-idle", "tpu-lab-scheduler", "tpu-lab-build"]
    error_message = "Idle-shutdown, scheduler and build must each have an account."
  }
  assert {
    condition     = length(google_service_account.budget_guard) + length(google_service_account.push) == 0
    error_message = "Without a budget nobody needs its accounts."
  }
  assert {
    condition     = output.budget_guard == null && output.gke_nodes == null && output.push == null
    error_message = "Without a budget and a cluster there are no accounts to name."
  }
  assert {
    condition     = toset([for grant in google_service_account_iam_member.act_as : grant.member]) == toset(var.launcher_users)
    error_message = "Every launcher user may use the one worker account."
  }
}

# The lists are written out: whoever widens a role has to say so here too.
run "custom_roles" {
  command = plan

  assert {
    condition = google_project_iam_custom_role.launcher.permissions == toset([
      "serviceusage.quotas.get", "serviceusage.services.get", "tpu.acceleratortypes.list", "tpu.nodes.create", "tpu.nodes.delete",
      "tpu.nodes.get", "tpu.nodes.list", "tpu.nodes.update", "tpu.operations.get",
    ])
    error_message = "Launcher users may do what the launcher calls, and no more."
  }
  assert {
    condition     = google_project_iam_custom_role.worker.permissions == toset(["tpu.nodes.delete", "tpu.nodes.get"])
    error_message = "A worker may delete its node, and no more."
  }
  assert {
    condition     = google_project_iam_custom_role.reaper.permissions == toset(["tpu.nodes.delete", "tpu.nodes.get", "tpu.nodes.list"])
    error_message = "The idle-shutdown may find and delete nodes, and no more."
  }
  assert {
    condition     = length(google_project_iam_custom_role.reaper_gke) == 0
    error_message = "Without a cluster nothing may touch GKE."
  }
  assert {
    condition = alltrue([
      for role in [google_project_iam_custom_role.launcher, google_project_iam_custom_role.worker, google_project_iam_custom_role.reaper] :
      startswith(role.role_id, "tpu_lab_")
    ])
    error_message = "Two platforms in a project must not share roles."
  }
}

run "project_roles" {
  command = plan

  assert {
    condition     = toset([for grant in google_project_iam_member.launcher : grant.member]) == toset(var.launcher_users)
    error_message = "Each launcher user must have the launcher's role."
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.iap : grant.role == "roles/iap.tunnelResourceAccessor"]) && length(google_project_iam_member.iap) == 2
    error_message = "Each launcher user must get through Identity-Aware Proxy."
  }
  assert {
    condition = toset(distinct([
      for grant in concat(values(google_project_iam_member.worker_logs), values(google_project_iam_member.worker_metrics)) : grant.role
    ])) == toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])
    error_message = "Workers write logs and metrics."
  }
  assert {
    condition     = strcontains(google_project_iam_member.build_source.condition[0].expression, "gcf-v2-sources-")
    error_message = "A build may read the archives of functions, and no other bucket."
  }
  assert {
    condition     = [for grant in google_project_iam_member.operator_logs : "${grant.role} ${grant.member}"] == ["roles/logging.viewer user:grace@example.com"]
    error_message = "Operators read logs."
  }
  assert {
    condition     = length(google_project_iam_member.launcher_gke) + length(google_project_iam_member.idle_shutdown_gke) == 0
    error_message = "Without a cluster nobody needs a role on it."
  }
}

run "teams" {
  command = plan
  variables {
    launcher_users = []
    teams = {
      speech = { members = ["group:speech@example.com", "user:ada@example.com"] }
      vision = { members = ["group:vision@example.com"] }
    }
  }

  assert {
    condition     = { for team, account in google_service_account.worker : team => account.account_id } == { speech = "tpu-lab-w-speech", vision = "tpu-lab-w-vision" }
    error_message = "Each team has an account of its own."
  }
  assert {
    condition = toset(keys(google_service_account_iam_member.act_as)) == toset([
      "speech/group:speech@example.com", "speech/user:ada@example.com", "vision/group:vision@example.com",
    ])
    error_message = "A team's account is for its members alone."
  }
  assert {
    condition     = length(google_project_iam_member.launcher) == 3
    error_message = "Every member of a team is a launcher user."
  }
}

run "budget" {
  command = plan
  variables {
    budget = true
  }

  assert {
    condition     = [google_service_account.budget_guard[0].account_id, google_service_account.push[0].account_id] == ["tpu-lab-guard", "tpu-lab-push"]
    error_message = "The guard and its caller must each have an account."
  }
}

run "gke" {
  command = plan
  variables {
    gke = true
  }

  assert {
    condition = google_project_iam_custom_role.reaper_gke[0].permissions == toset([
      "compute.instanceGroupManagers.get", "container.clusters.connect", "container.clusters.get", "container.clusters.update",
      "container.pods.list",
    ])
    error_message = "The idle-shutdown may look into the cluster and scale it, not delete it."
  }
  assert {
    condition     = toset([for grant in google_project_iam_member.launcher_gke : "${grant.role} ${grant.member}"]) == toset([for user in var.launcher_users : "roles/container.developer ${user}"])
    error_message = "Launcher users run Pods on the cluster."
  }
  assert {
    condition     = google_service_account.gke_nodes[0].account_id == "tpu-lab-gke"
    error_message = "The cluster's nodes must have an account of their own, which can do less than a worker's."
  }
}

run "gke_may_be_deleted" {
  command = plan
  variables {
    gke             = true
    gke_delete_idle = true
  }

  assert {
    condition     = contains(google_project_iam_custom_role.reaper_gke[0].permissions, "container.clusters.delete")
    error_message = "Opted in, the idle-shutdown may delete the cluster."
  }
}

run "everybody" {
  command = plan
  variables {
    launcher_users = ["allUsers"]
  }
  expect_failures = [var.launcher_users]
}

run "address_for_an_operator" {
  command = plan
  variables {
    operators = ["grace@example.com"]
  }
  expect_failures = [var.operators]
}

run "domain_for_a_team" {
  command = plan
  variables {
    teams = { vision = { members = ["domain:example.com"] } }
  }
  expect_failures = [var.teams]
}

run "capital_letters_in_a_team" {
  command = plan
  variables {
    teams = { Vision = { members = ["group:vision@example.com"] } }
  }
  expect_failures = [var.teams]
}

run "team_name_too_long_for_an_account" {
  command = plan
  variables {
    teams = { reinforcement-learning = { members = ["group:rl@example.com"] } }
  }
  expect_failures = [var.teams]
}

run "team_of_nobody" {
  command = plan
  variables {
    teams = { vision = { members = [] } }
  }
  expect_failures = [var.teams]
}

run "long_name" {
  command = plan
  variables {
    name = "a-name-of-21-letters-"
  }
  expect_failures = [var.name]
}
