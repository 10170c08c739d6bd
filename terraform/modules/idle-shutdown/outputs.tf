output "environment" {
  description = "What a function of the platform needs to know; the budget guard has it too."
  value       = local.environment
}

output "function" {
  description = "The idle-shutdown function: name, uri, and the Cloud Run service below it."
  value = {
    name    = google_cloudfunctions2_function.this.name
    service = google_cloudfunctions2_function.this.service_config[0].service
    uri     = local.uri
  }
}

output "source" {
  description = "The functions' archive: bucket, object and generation."
  value = {
    bucket     = google_storage_bucket_object.archive.bucket
    generation = google_storage_bucket_object.archive.generation
    object     = google_storage_bucket_object.archive.name
  }
}
