output "project_number" {
  description = "Number of the project, once its APIs are on."
  value       = data.google_project.this.number
}
