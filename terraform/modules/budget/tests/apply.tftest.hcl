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

run "notifications_are_pushed_with_a_token_made_for_the_guard" {
  assert {
    condition     = google_billing_budget.this.all_updates_rule[0].pubsub_topic == google_pubsub_topic.this.id && google_pubsub_subscription.this.topic == google_pubsub_topic.this.id
    error_message = "What the budget tells does not reach the subscription."
  }
  assert {
    condition     = google_pubsub_subscription.this.push_config[0].push_endpoint == google_cloudfunctions2_function.this.service_config[0].uri
    error_message = "The subscription pushes elsewhere."
  }
  assert {
    condition     = google_pubsub_subscription.this.push_config[0].oidc_token[0].audience == google_cloudfunctions2_function.this.service_config[0].uri && google_pubsub_subscription.this.push_config[0].oidc_token[0].service_account_email == var.accounts.push.email
    error_message = "The token is not the push account's for the guard's own address."
  }
  assert {
    condition     = endswith(google_billing_budget.this.name, google_cloudfunctions2_function.this.service_config[0].environment_variables["BUDGET_ID"]) && length(google_cloudfunctions2_function.this.service_config[0].environment_variables["BUDGET_ID"]) > 0
    error_message = "The guard would hear other budgets too."
  }
  assert {
    condition     = output.function == "cap-budget-guard" && output.topic == google_pubsub_topic.this.id
    error_message = "The outputs name something else."
  }
}
