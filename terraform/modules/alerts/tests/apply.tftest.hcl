variables {
  budget_guard_function  = "watch-budget-guard"
  emails                 = ["ada@example.com", "team@example.com"]
  idle_shutdown_function = "watch-idle-shutdown"
  labels                 = { launcher-platform = "watch" }
  name                   = "watch"
  project_id             = "demo-project"
}

run "every_alert_reaches_every_address" {
  assert {
    condition = alltrue([
      for policy in concat(values(google_monitoring_alert_policy.on_log), google_monitoring_alert_policy.silent) :
      toset(policy.notification_channels) == toset(output.channels) && length(policy.notification_channels) == 2
    ])
    error_message = "An alert tells nobody, or not everybody."
  }
  assert {
    condition     = [for email in ["ada@example.com", "team@example.com"] : google_monitoring_notification_channel.email[email].id] == output.channels
    error_message = "The budget's mails would go elsewhere."
  }
  assert {
    condition     = output.dashboard == google_monitoring_dashboard.this[0].id
    error_message = "The output names another dashboard."
  }
}
