variable "budget_guard_function" {
  description = "Name of the budget guard's function; null where there is no budget."
  type        = string
  default     = null
}

variable "emails" {
  description = "E-mail addresses that alerts and the budget's mails go to; with none, alerts only show in the console."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "alerts.emails must be e-mail addresses, like \"team@example.com\", without \"mailto:\" or a name."
  }
}

variable "enabled" {
  description = "Whether there are alerts, metrics and a dashboard at all."
  type        = bool
  default     = true
  nullable    = false
}

variable "idle_shutdown_function" {
  description = "Name of the idle-shutdown function."
  type        = string
  nullable    = false
}

variable "labels" {
  description = "Labels of alert policies and notification channels."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "The platform's name: prefix of metrics and titles."
  type        = string
  nullable    = false
}

variable "project_id" {
  description = "Project of the platform."
  type        = string
  nullable    = false
}

variable "usd_per_hour" {
  description = "List price of all nodes together above which an alert tells of it; null: never."
  type        = number
  default     = null

  validation {
    condition     = var.usd_per_hour == null ? true : var.usd_per_hour > 0
    error_message = "alerts.usd_per_hour must be more than 0; leave it out for no alert on spend."
  }
}
