variables {
  budget_guard_function  = "watch-budget-guard"
  emails                 = ["ada@example.com", "team@example.com"]
  idle_shutdown_function = "watch-idle-shutdown"
  labels                 = { launcher-platform = "watch" }
  name                   = "watch"
  project_id             = "demo-project"
}

run "each_failure_of_a_function_has_its_alert" {
  command = plan

  assert {
    condition     = keys(google_monitoring_alert_policy.on_log) == ["budget-guard-failed", "idle-shutdown-denied", "idle-shutdown-failed", "node-too-old"]
    error_message = "An alert is missing, or one too many."
  }
  assert {
    condition = alltrue([
      for policy in values(google_monitoring_alert_policy.on_log) :
      strcontains(policy.conditions[0].condition_matched_log[0].filter, "resource.type=\"cloud_run_revision\"")
    ])
    error_message = "A condition is not about Cloud Run, where the functions log."
  }
  assert {
    condition = { for key, policy in google_monitoring_alert_policy.on_log : key => policy.conditions[0].condition_matched_log[0].filter } == {
      budget-guard-failed  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"watch-budget-guard\" AND severity>=ERROR"
      idle-shutdown-denied = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"watch-idle-shutdown\" OR \"watch-budget-guard\") AND jsonPayload.denied=true"
      idle-shutdown-failed = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"watch-idle-shutdown\" AND severity>=ERROR"
      node-too-old         = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"watch-idle-shutdown\" AND jsonPayload.event=\"pass\" AND jsonPayload.over_lifetime>0"
    }
    error_message = "A condition does not match what the functions log."
  }
  assert {
    condition     = alltrue([for policy in values(google_monitoring_alert_policy.on_log) : policy.alert_strategy[0].notification_rate_limit[0].period == "3600s"])
    error_message = "A condition on the log needs a rate limit, else Google refuses it."
  }
}

run "silence_is_an_alert_from_the_first_hour_on" {
  command = plan

  assert {
    condition     = strcontains(google_monitoring_alert_policy.silent[0].conditions[0].condition_prometheus_query_language[0].query, "run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"watch-idle-shutdown\",response_code_class=\"2xx\"}")
    error_message = "The condition counts something else than successful passes."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.silent[0].conditions[0].condition_prometheus_query_language[0].query, "or vector(0)")
    error_message = "The condition would say nothing of a function that has never run."
  }
}

run "spend_is_an_alert_where_a_limit_is_set" {
  command = plan

  variables {
    usd_per_hour = 25.5
  }

  assert {
    condition     = endswith(google_monitoring_alert_policy.on_log["spend"].conditions[0].condition_matched_log[0].filter, "jsonPayload.event=\"pass\" AND jsonPayload.usd_per_hour>25.5")
    error_message = "The condition has another limit."
  }
}

run "metrics_are_read_from_the_entry_of_each_pass" {
  command = plan

  assert {
    condition     = { for key, metric in google_logging_metric.value : metric.name => metric.value_extractor } == { for key in ["busy", "idle_s", "jobs", "nodes", "usd_per_hour"] : "watch/${key}" => "EXTRACT(jsonPayload.${key})" }
    error_message = "A metric reads another field."
  }
  assert {
    condition     = alltrue([for metric in values(google_logging_metric.value) : metric.metric_descriptor[0].value_type == "DISTRIBUTION" && strcontains(metric.filter, "\"watch-idle-shutdown\"") && strcontains(metric.filter, "jsonPayload.event=\"pass\"")])
    error_message = "A metric is not made from the passes of this platform's function."
  }
}

run "dashboard_shows_nodes_idle_time_jobs_and_cost" {
  command = plan

  assert {
    condition     = alltrue([for value in ["busy", "idle_s", "jobs", "nodes", "usd_per_hour"] : strcontains(google_monitoring_dashboard.this[0].dashboard_json, "logging.googleapis.com/user/watch/${value}")])
    error_message = "A value is not on the dashboard."
  }
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.this[0].dashboard_json).mosaicLayout.tiles :
      try(tile.xPos, 6) == 6 && try(tile.xPos, 0) + tile.width <= 12 && try(tile.yPos, 4) > 0
    ])
    error_message = "A tile lies beside the dashboard, or names a position of 0, which each plan would show as a change."
  }
  assert {
    condition = length(distinct([
      for tile in jsondecode(google_monitoring_dashboard.this[0].dashboard_json).mosaicLayout.tiles : "${try(tile.xPos, 0)}/${try(tile.yPos, 0)}"
    ])) == 6
    error_message = "Two tiles lie on one another."
  }
}

run "without_a_budget_there_is_no_alert_about_its_guard" {
  command = plan

  variables {
    budget_guard_function = null
  }

  assert {
    condition     = keys(google_monitoring_alert_policy.on_log) == ["idle-shutdown-denied", "idle-shutdown-failed", "node-too-old"]
    error_message = "There is an alert about a function that does not exist."
  }
}

run "without_addresses_alerts_only_show_in_the_console" {
  command = plan

  variables {
    emails = []
  }

  assert {
    condition     = length(google_monitoring_notification_channel.email) == 0 && length(google_monitoring_alert_policy.on_log) == 4 && length(output.channels) == 0
    error_message = "Alerts need an address."
  }
}

run "off_makes_nothing" {
  command = plan

  variables {
    enabled = false
  }

  assert {
    condition     = length(google_monitoring_notification_channel.email) + length(google_monitoring_alert_policy.on_log) + length(google_monitoring_alert_policy.silent) + length(google_logging_metric.value) + length(google_monitoring_dashboard.this) == 0
    error_message = "Something is made although alerts are off."
  }
  assert {
    condition     = output.dashboard == null && length(output.channels) == 0
    error_message = "An output names what does not exist."
  }
}

run "refuses_what_is_no_address" {
  command         = plan
  expect_failures = [var.emails]
  variables {
    emails = ["Ada Lovelace"]
  }
}

run "refuses_a_limit_of_nothing" {
  command         = plan
  expect_failures = [var.usd_per_hour]
  variables {
    usd_per_hour = 0
  }
}
