variables {
  accounts = {
    budget_guard = { email = "cap-guard@demo-project.iam.gserviceaccount.com", member = "serviceAccount:cap-guard@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/cap-guard@demo-project.iam.gserviceaccount.com" }
    build        = { email = "cap-build@demo-project.iam.gserviceaccount.com", member = "serviceAccount:cap-build@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/cap-build@demo-project.iam.gserviceaccount.com" }
    push         = { email = "cap-push@demo-project.iam.gserviceaccount.com", member = "serviceAccount:cap-push@demo-project.iam.gserviceaccount.com", name = "projects/demo-project/serviceAccounts/cap-push@demo-project.iam.gserviceaccount.com" }
  }
  archive        = { bucket = "demo-project-cap-control", generation = 17, object = "functions/abc.zip" }
  budget         = { amount = 500, billing_account = "000000-000000-000000" }
  channels       = ["projects/demo-project/notificationChannels/1"]
  environment    = { PLATFORM = "cap", DRY_RUN = "false" }
  labels         = { launcher-platform = "cap" }
  name           = "cap"
  project_id     = "demo-project"
  project_number = "123456789"
  region         = "us-central1"
}

run "guard_is_closed_to_everybody_but_the_subscription" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    error_message = "The guard is reachable from outside the project."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.push.role == "roles/run.invoker" && google_cloud_run_v2_service_iam_member.push.member == var.accounts.push.member && google_cloud_run_v2_service_iam_member.push.name == "cap-budget-guard"
    error_message = "The push account is not invoker of this one service."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].service_account_email == var.accounts.budget_guard.email
    error_message = "The guard has no identity of its own."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].max_instance_count == 1 && google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency == 1
    error_message = "Two notifications may be dealt with at once."
  }
  assert {
    condition     = { for key, value in google_cloudfunctions2_function.this.service_config[0].environment_variables : key => value if key != "BUDGET_ID" } == { CALLER = "cap-push@demo-project.iam.gserviceaccount.com", DRY_RUN = "false", GUARD_DRAIN_BUSY = "false", PLATFORM = "cap" }
    error_message = "The guard's environment is not that of the platform with its own caller."
  }
}

run "guard_runs_the_very_archive_of_the_idle_shutdown" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].object == "functions/abc.zip" && google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].generation == 17
    error_message = "The guard's source is not pinned."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].entry_point == "budget_guard"
    error_message = "The guard has another entry point."
  }
}

run "budget_is_about_this_project_and_tells_people_too" {
  command = plan

  assert {
    condition     = google_billing_budget.this.budget_filter[0].projects == toset(["projects/123456789"]) && google_billing_budget.this.budget_filter[0].calendar_period == "MONTH"
    error_message = "The budget is not about this project's calendar month."
  }
  assert {
    condition     = google_billing_budget.this.amount[0].specified_amount[0].units == "500" && google_billing_budget.this.amount[0].specified_amount[0].currency_code == "USD"
    error_message = "The budget has another limit."
  }
  assert {
    condition     = join(" ", google_billing_budget.this.threshold_rules[*].threshold_percent) == "0.5 0.9 1"
    error_message = "The budget tells at other thresholds."
  }
  assert {
    condition     = google_billing_budget.this.all_updates_rule[0].monitoring_notification_channels == tolist(["projects/demo-project/notificationChannels/1"]) && google_billing_budget.this.all_updates_rule[0].disable_default_iam_recipients == false && google_billing_budget.this.all_updates_rule[0].schema_version == "1.0"
    error_message = "The budget does not tell the people it should."
  }
}

run "subscription_tries_again_for_a_day_and_never_expires" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.this.ack_deadline_seconds > google_cloudfunctions2_function.this.service_config[0].timeout_seconds
    error_message = "Pub/Sub would deliver again while the guard still works."
  }
  assert {
    condition     = google_pubsub_subscription.this.expiration_policy[0].ttl == "" && google_pubsub_subscription.this.message_retention_duration == "86400s"
    error_message = "The subscription expires, or delivers what is long out of date."
  }
}

run "draining_busy_nodes_is_opted_in" {
  command = plan

  variables {
    budget = { amount = 500, billing_account = "000000-000000-000000", drain_busy = true }
  }

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].environment_variables["GUARD_DRAIN_BUSY"] == "true"
    error_message = "drain_busy does not reach the guard."
  }
}

run "refuses_cents" {
  command         = plan
  expect_failures = [var.budget]
  variables {
    budget = { amount = 99.5, billing_account = "000000-000000-000000" }
  }
}

run "refuses_a_billing_account_that_is_none" {
  command         = plan
  expect_failures = [var.budget]
  variables {
    budget = { amount = 100, billing_account = "my billing account" }
  }
}

run "refuses_a_currency_that_is_none" {
  command         = plan
  expect_failures = [var.budget]
  variables {
    budget = { amount = 100, billing_account = "000000-000000-000000", currency = "dollars" }
  }
}

run "refuses_thresholds_in_percent" {
  command         = plan
  expect_failures = [var.budget]
  variables {
    budget = { amount = 100, billing_account = "000000-000000-000000", thresholds = [50, 100] }
  }
}

run "refuses_more_channels_than_a_budget_has" {
  command         = plan
  expect_failures = [var.channels]
  variables {
    channels = ["a", "b", "c", "d", "e", "f"]
  }
}
