variables {
  accounts = {
    build         = { email = "idle-build@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-build@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-build@demo-project.iam.gserviceaccount.com" }
    idle_shutdown = { email = "idle-idle@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-idle@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-idle@demo-project.iam.gserviceaccount.com" }
    scheduler     = { email = "idle-scheduler@demo-project.iam.gserviceaccount.com", member = "serviceAccount:idle-scheduler@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/idle-scheduler@demo-project.iam.gserviceaccount.com" }
  }
  control_bucket = "demo-project-idle-control"
  jobs_bucket    = "demo-project-idle-jobs"
  labels         = { launcher-platform = "idle" }
  name           = "idle"
  project_id     = "demo-project"
  region         = "us-central1"
  zones          = ["us-central1-a", "us-west4-a"]
}

# Few runs: Terraform needs most of a second for each, as it compares the archive's sources with one another.
run "platform_gets_a_function_that_only_its_schedule_can_call" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    error_message = "The function is reachable from outside the project."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].max_instance_count == 1 && google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency == 1
    error_message = "Two passes may run at once."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].service_account_email == var.accounts.idle_shutdown.email && google_cloudfunctions2_function.this.build_config[0].service_account == var.accounts.build.name
    error_message = "The function runs or is built as another account than its own."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.scheduler.role == "roles/run.invoker" && google_cloud_run_v2_service_iam_member.scheduler.member == var.accounts.scheduler.member && google_cloud_run_v2_service_iam_member.scheduler.name == "idle-idle-shutdown"
    error_message = "The scheduler's account is not invoker of this one service."
  }
  assert {
    condition = google_cloudfunctions2_function.this.service_config[0].environment_variables == tomap({
      BUCKET         = "demo-project-idle-jobs"
      CALLER         = "idle-scheduler@demo-project.iam.gserviceaccount.com"
      CONTROL_BUCKET = "demo-project-idle-control"
      DRAIN_S        = "300"
      DRY_RUN        = "false"
      GRACE_S        = "600"
      MAX_LIFETIME_S = "86400"
      PLATFORM       = "idle"
      PROJECT        = "demo-project"
      ZONES          = "us-central1-a,us-west4-a"
    })
    error_message = "The function's environment is not what launcher/functions/main.py reads."
  }
  assert {
    condition     = !contains(keys(output.environment), "CALLER")
    error_message = "The guard's function would let in the scheduler."
  }
  assert {
    condition     = tonumber(trimsuffix(google_cloud_scheduler_job.this.attempt_deadline, "s")) > google_cloudfunctions2_function.this.service_config[0].timeout_seconds
    error_message = "Cloud Scheduler would give up, and call again, while a pass still runs."
  }
  assert {
    condition     = google_cloud_scheduler_job.this.http_target[0].http_method == "POST" && google_cloud_scheduler_job.this.http_target[0].oidc_token[0].service_account_email == var.accounts.scheduler.email
    error_message = "The schedule does not call as its own account."
  }
  assert {
    condition     = google_storage_bucket_object.archive.bucket == "demo-project-idle-control" && google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].bucket == "demo-project-idle-control"
    error_message = "The function's code lies where jobs can write."
  }
  assert {
    condition     = alltrue([for name in ["main.py", "requirements.txt", "launcher/__init__.py", "launcher/fleet/reaper.py"] : contains([for file in data.archive_file.this.source : file.filename], name)])
    error_message = "The archive lacks what the function needs."
  }
  assert {
    condition     = alltrue([for file in data.archive_file.this.source : !can(regex("\\.pyc|/sim/|/agent/|/cli/", file.filename))])
    error_message = "The archive holds what the function does not need."
  }
}

run "settings_and_cluster_reach_the_function" {
  command = plan

  variables {
    gke      = { cluster = "idle", delete_idle = true, idle_s = 3600, location = "us-central1" }
    settings = { dry_run = true, max_lifetime_s = 7200, schedule = "*/10 * * * *" }
  }

  assert {
    condition = {
      for name in ["DRY_RUN", "GKE_CLUSTER", "GKE_DELETE_IDLE", "GKE_IDLE_S", "MAX_LIFETIME_S"] :
      name => google_cloudfunctions2_function.this.service_config[0].environment_variables[name]
      } == {
      DRY_RUN         = "true"
      GKE_CLUSTER     = "us-central1/idle"
      GKE_DELETE_IDLE = "true"
      GKE_IDLE_S      = "3600"
      MAX_LIFETIME_S  = "7200"
    }
    error_message = "A setting does not reach the function."
  }
  assert {
    condition     = google_cloud_scheduler_job.this.schedule == "*/10 * * * *" && google_cloud_scheduler_job.this.time_zone == "Etc/UTC"
    error_message = "The schedule is not the one that was asked for."
  }
}

run "refuses_a_node_that_stays_warm_for_longer_than_it_lives_and_code_where_jobs_write_and_no_zones" {
  command         = plan
  expect_failures = [var.control_bucket, var.settings, var.zones]
  variables {
    control_bucket = "demo-project-idle-jobs"
    settings       = { keep_warm_s = 7200, max_lifetime_s = 3600 }
    zones          = []
  }
}

run "refuses_no_time_to_drain_and_a_region_for_a_zone" {
  command         = plan
  expect_failures = [var.settings, var.zones]
  variables {
    settings = { drain_s = 0 }
    zones    = ["us-central1"]
  }
}

run "refuses_a_fraction_of_a_second_of_grace" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { grace_s = 0.5 }
  }
}

run "refuses_a_schedule_that_rests_at_night" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { schedule = "*/5 8-18 * * *" }
  }
}

run "refuses_a_schedule_that_is_not_often_enough" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { schedule = "*/30 * * * *" }
  }
}
