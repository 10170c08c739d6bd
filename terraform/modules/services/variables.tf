variable "budget" {
  description = "Whether the platform has a budget guard: the APIs of budgets and Pub/Sub."
  type        = bool
  nullable    = false
}

variable "gke" {
  description = "Whether the platform has a GKE cluster: the API of GKE."
  type        = bool
  nullable    = false
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][-a-z0-9]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is \"${var.project_id}\", which is no project ID. Take the PROJECT_ID column of `gcloud projects list`, not the project's name or number."
  }
}

variable "secrets" {
  description = "Whether the platform keeps secrets: the API of Secret Manager."
  type        = bool
  nullable    = false
}
