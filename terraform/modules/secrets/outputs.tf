output "ids" {
  description = "Name in secrets to the full id, once the worker accounts may read it."
  value       = { for key, secret in google_secret_manager_secret.this : key => secret.id }

  depends_on = [google_secret_manager_secret_iam_member.reader]
}
