output "control_bucket" {
  description = "Name of the control bucket, once whoever needs it has access."
  value       = google_storage_bucket.control.name

  # A function or a node that starts earlier would be refused.
  depends_on = [
    google_storage_bucket_iam_member.control_reader,
    google_storage_bucket_iam_member.control_record,
    google_storage_bucket_iam_member.control_writer,
  ]
}

output "jobs_bucket" {
  description = "Name of the jobs bucket, once whoever needs it has access."
  value       = google_storage_bucket.jobs.name

  depends_on = [google_storage_bucket_iam_member.jobs_user]
}
