output "images" {
  description = "Where images are pushed and pulled, without a scheme."
  value       = "${var.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"

  depends_on = [
    google_artifact_registry_repository_iam_member.images_reader,
    google_artifact_registry_repository_iam_member.images_writer,
  ]
}

output "python_index" {
  description = "Address of the Python repository's simple index: a mirror of the public one, inside Google's network."
  value       = "https://${var.location}-python.pkg.dev/${var.project_id}/${google_artifact_registry_repository.python.repository_id}/simple/"

  depends_on = [google_artifact_registry_repository_iam_member.python_reader]
}
