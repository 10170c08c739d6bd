variable "delete_idle" {
  description = "Whether the idle shutdown deletes the cluster once it has been idle for an hour."
  type        = bool
  nullable    = false
  default     = false
}

variable "launcher_users" {
  description = "Who may use the platform: IAM members such as user:ada@example.com."
  type        = list(string)
  nullable    = false
  default     = []
}

variable "operators" {
  description = "Who runs the platform: IAM members such as user:ada@example.com."
  type        = list(string)
  nullable    = false
  default     = []
}

variable "project_id" {
  description = "Project that is to hold the platform."
  type        = string
  nullable    = false
}
