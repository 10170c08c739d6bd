locals {
  # Field of a pass's log entry -> what it is.
  values = {
    busy         = "Nodes that run a job"
    idle_s       = "Seconds since the last use, over all idle nodes"
    jobs         = "Jobs that run"
    nodes        = "Nodes"
    usd_per_hour = "List price of all nodes, USD an hour"
  }

  charts = [
    { title = "Nodes", values = ["nodes", "busy"] },
    { title = "Jobs", values = ["jobs"] },
    { title = "Idle time (s)", values = ["idle_s"] },
    { title = "Cost (USD per hour, list price)", values = ["usd_per_hour"] },
  ]

  value_widgets = [
    for chart in local.charts : {
      title = chart.title
      xyChart = {
        dataSets = [
          for value in chart.values : {
            legendTemplate = local.values[value]
            plotType       = "LINE"
            timeSeriesQuery = {
              timeSeriesFilter = {
                # The mean over the entries of a period, which is one entry's value where there is one pass in it.
                aggregation = { alignmentPeriod = "300s", crossSeriesReducer = "REDUCE_MEAN", perSeriesAligner = "ALIGN_DELTA" }
                filter      = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${var.name}/${value}\""
              }
            }
          }
        ]
      }
    }
  ]
  widgets = concat(local.value_widgets, [
    {
      title = "Passes of the idle shutdown, by answer"
      xyChart = {
        dataSets = [{
          plotType = "STACKED_BAR"
          timeSeriesQuery = {
            timeSeriesFilter = {
              aggregation = {
                alignmentPeriod    = "3600s"
                crossSeriesReducer = "REDUCE_SUM"
                groupByFields      = ["metric.label.response_code_class"]
                perSeriesAligner   = "ALIGN_DELTA"
              }
              filter = "${local.service} AND metric.type=\"run.googleapis.com/request_count\""
            }
          }
        }]
      }
    },
    {
      title     = "What was deleted, and what went wrong"
      logsPanel = { filter = "${local.services} AND (jsonPayload.event=(\"decision\" OR \"error\") OR severity>=WARNING)" }
    },
  ])
}

resource "google_logging_metric" "value" {
  for_each        = { for value, text in local.values : value => text if var.enabled }
  project         = var.project_id
  name            = "${var.name}/${each.key}"
  description     = "${each.value}, as each pass of the idle shutdown counts it."
  filter          = local.passes
  value_extractor = "EXTRACT(jsonPayload.${each.key})"

  metric_descriptor {
    display_name = each.value
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
  }

  bucket_options {
    exponential_buckets {
      growth_factor      = 2
      num_finite_buckets = 32
      scale              = 0.01
    }
  }
}

resource "google_monitoring_dashboard" "this" {
  count   = var.enabled ? 1 : 0
  project = var.project_id
  dashboard_json = jsonencode({
    displayName = "TPU platform ${var.name}"
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, widget in local.widgets : merge(
          { height = 4, widget = widget, width = 6 },
          # The API leaves out a 0, and the next plan would show it.
          index % 2 == 0 ? {} : { xPos = 6 },
          index < 2 ? {} : { yPos = 4 * floor(index / 2) },
        )
      ]
    }
  })

  depends_on = [google_logging_metric.value]
}
