variable "budget" {
  description = "Whether the platform has a budget guard, which has an account of its own."
  type        = bool
  nullable    = false
}

variable "gke" {
  description = "Whether the platform has a GKE cluster, which the idle-shutdown watches too."
  type        = bool
  nullable    = false
}

variable "gke_delete_idle" {
  description = "Whether the idle-shutdown may delete the GKE cluster when it is idle. Only read with gke."
  type        = bool
  nullable    = false
}

variable "launcher_users" {
  description = "IAM members who may use the launcher: user:…, group:… or serviceAccount:…."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.launcher_users : can(regex(local.member_pattern, member))])
    error_message = "launcher_users: ${join(", ", [for member in var.launcher_users : "\"${member}\"" if !can(regex(local.member_pattern, member))])} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "name" {
  description = "Name of the platform: prefix of every account's id and of the custom roles."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "name is \"${var.name}\". Use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last: every id of the platform begins with it."
  }
}

variable "operators" {
  description = "IAM members who run the platform: they look at its logs, stop nodes and lift a freeze."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.operators : can(regex(local.member_pattern, member))])
    error_message = "operators: ${join(", ", [for member in var.operators : "\"${member}\"" if !can(regex(local.member_pattern, member))])} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false
}

variable "teams" {
  description = <<-EOT
    Team to its people; empty makes one worker account that every launcher user may use.
    - members: IAM members who may run jobs as the team's worker account, and nobody else may.
  EOT
  type = map(object({
    members = list(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for team in keys(var.teams) : can(regex("^[a-z]([a-z0-9-]*[a-z0-9])?$", team))])
    error_message = "teams: ${join(", ", [for team in keys(var.teams) : "\"${team}\"" if !can(regex("^[a-z]([a-z0-9-]*[a-z0-9])?$", team))])} cannot be a team's name, which becomes part of a service account's id. Use lower-case letters, digits and dashes, a letter first and no dash last."
  }
  validation {
    condition     = alltrue([for team in keys(var.teams) : length("${var.name}-w-${team}") >= 6 && length("${var.name}-w-${team}") <= 30])
    error_message = "teams: ${join(", ", [for team in keys(var.teams) : "\"${team}\" makes the service account ${var.name}-w-${team}" if length("${var.name}-w-${team}") < 6 || length("${var.name}-w-${team}") > 30])}, and such an id has 6 to 30 characters. Choose another name for the team or the platform."
  }
  validation {
    condition     = alltrue([for spec in values(var.teams) : length(spec.members) > 0])
    error_message = "teams: ${join(", ", [for team, spec in var.teams : "\"${team}\"" if length(spec.members) == 0])} has no members, so nobody could use its account. Name at least one, or remove the team."
  }
  validation {
    condition     = alltrue(flatten([for spec in values(var.teams) : [for member in spec.members : can(regex(local.member_pattern, member))]]))
    error_message = "teams: ${join(", ", flatten([for team, spec in var.teams : [for member in spec.members : "\"${member}\" in ${team}" if !can(regex(local.member_pattern, member))]]))} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}
