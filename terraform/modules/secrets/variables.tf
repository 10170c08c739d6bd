variable "labels" {
  description = "Labels of every secret."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the platform: prefix of every secret's id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "name is \"${var.name}\". Use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last: every id of the platform begins with it."
  }
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false
}

variable "secrets" {
  description = <<-EOT
    Secrets that unattended jobs read, by name. Their values are set outside Terraform, so that no state holds them.
    - teams: teams whose worker accounts may read it; null: every worker account.
  EOT
  type = map(object({
    teams = optional(list(string))
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for key in keys(var.secrets) : can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,199}$", key))])
    error_message = "secrets: ${join(", ", [for key in keys(var.secrets) : "\"${key}\"" if !can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,199}$", key))])} cannot be a secret's name. Use letters, digits, _ and -, a letter or _ first, at most 200."
  }
  validation {
    condition     = alltrue(flatten([for secret in values(var.secrets) : [for team in coalesce(secret.teams, []) : contains(keys(var.workers), team)]]))
    error_message = "secrets: ${join(", ", flatten([for key, secret in var.secrets : [for team in coalesce(secret.teams, []) : "${key} is for \"${team}\"" if !contains(keys(var.workers), team)]]))}, and there is no such worker account: there are ${join(", ", keys(var.workers))}. Name one of these, or leave teams out for all."
  }
}

variable "workers" {
  description = <<-EOT
    Worker accounts as the identity module gives them: by team, or one called worker.
    - member: the account as an IAM member.
  EOT
  type = map(object({
    member = string
  }))
  default  = {}
  nullable = false
}
