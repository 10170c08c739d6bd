output "channels" {
  description = "Ids of the notification channels, for the budget's mails."
  value       = local.channels
}

output "dashboard" {
  description = "Id of the dashboard; null where alerts are off."
  value       = one(google_monitoring_dashboard.this[*].id)
}
