output "function" {
  description = "Name of the budget guard's function."
  value       = google_cloudfunctions2_function.this.name
}

output "topic" {
  description = "Id of the topic that the budget tells of every change."
  value       = google_pubsub_topic.this.id
}
