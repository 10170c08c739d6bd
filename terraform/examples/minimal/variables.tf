variable "launcher_users" {
  description = "Who may use the platform: IAM members such as user:ada@example.com."
  type        = list(string)
  nullable    = false
  default     = []
}

variable "project_id" {
  description = "Project that is to hold the platform."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of functions, registry and buckets."
  type        = string
  nullable    = false
  default     = "us-central1"
}
