locals {
  channels = [for email in sort(keys(google_monitoring_notification_channel.email)) : google_monitoring_notification_channel.email[email].id]

  # Conditions on the log itself, not on metrics made from it: an alert policy on a metric that was made a moment ago is
  # refused (404 for up to 10 minutes), so that the first apply would fail. They also cost nothing per evaluation.
  on_log = merge(
    {
      idle-shutdown-denied = {
        name     = "the idle shutdown is denied something"
        filter   = "${local.services} AND jsonPayload.denied=true"
        severity = "CRITICAL"
        text     = "Google refuses the function a permission, so that nodes may stay and cost money. The log entry says which one. Usually a role was taken away: `terraform apply` gives it back. Until then: `launcher reap`."
      }
      idle-shutdown-failed = {
        name     = "the idle shutdown failed"
        filter   = "${local.service} AND severity>=ERROR"
        severity = "ERROR"
        text     = "A pass could not deal with a zone or a node; the log entries say with which and why. The next pass tries again. Look at what is there with `launcher nodes`."
      }
      node-too-old = {
        name     = "a node is older than its lifetime"
        filter   = "${local.passes} AND jsonPayload.over_lifetime>0"
        severity = "CRITICAL"
        text     = "A node should have been deleted more than half an hour ago and still costs money. See `launcher nodes`, then delete it with `launcher nodes down NODE`."
      }
    },
    var.budget_guard_function == null ? {} : {
      budget-guard-failed = {
        name     = "the budget guard failed"
        filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.budget_guard_function}\" AND severity>=ERROR"
        severity = "ERROR"
        text     = "A notification of the budget could not be dealt with; the log entry says why. Pub/Sub delivers it again for a day. Until it gets through, the budget stops nothing."
      }
    },
    var.usd_per_hour == null ? {} : {
      spend = {
        name     = "the nodes cost more than ${var.usd_per_hour} USD an hour"
        filter   = "${local.passes} AND jsonPayload.usd_per_hour>${var.usd_per_hour}"
        severity = "WARNING"
        text     = "The list prices of all nodes together are above what was set for this platform. See `launcher nodes` and `launcher costs`."
      }
    },
  )
}

resource "google_monitoring_alert_policy" "on_log" {
  for_each              = { for key, policy in local.on_log : key => policy if var.enabled }
  project               = var.project_id
  display_name          = "${var.name}: ${each.value.name}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.name
    condition_matched_log {
      filter = each.value.filter
    }
  }

  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = each.value.text
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "silent" {
  count                 = var.enabled ? 1 : 0
  project               = var.project_id
  display_name          = "${var.name}: the idle shutdown has not run"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = "no successful pass for an hour"
    # A condition_absent would wait for a first pass, and never tell of a schedule that has been broken from the start.
    condition_prometheus_query_language {
      query                     = "(sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${var.idle_shutdown_function}\",response_code_class=\"2xx\"}[45m])) or vector(0)) < 1"
      duration                  = "900s"
      evaluation_interval       = "300s"
      disable_metric_validation = true # a project that never ran anything on Cloud Run does not have the metric yet
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    content   = "No pass of the idle shutdown has succeeded for an hour, so that idle nodes stay and cost money; their own timers still end them 20 minutes late. Is the Cloud Scheduler job paused, or is every pass refused or failing? See the function's log. Until it runs again: `launcher reap`."
    mime_type = "text/markdown"
  }
}
