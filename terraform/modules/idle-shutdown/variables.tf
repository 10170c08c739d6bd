variable "accounts" {
  description = <<-EOT
    Service accounts, as module identity makes them:
    - build: builds the function's image.
    - idle_shutdown: what the function runs as.
    - scheduler: who calls it, and the only one who may.
  EOT
  type = object({
    build         = object({ email = string, member = string, name = string })
    idle_shutdown = object({ email = string, member = string, name = string })
    scheduler     = object({ email = string, member = string, name = string })
  })
  nullable = false
}

variable "control_bucket" {
  description = "Bucket of platform.json, freeze.json and the functions' archives; jobs cannot write it."
  type        = string
  nullable    = false

  validation {
    condition     = var.control_bucket != var.jobs_bucket
    error_message = "control_bucket is the jobs bucket: jobs could then write the code of the idle shutdown. Give it a bucket of its own, as module storage makes it."
  }
}

variable "gke" {
  description = <<-EOT
    The platform's cluster; null where there is none.
    - cluster, location: which one.
    - delete_idle: whether the whole cluster is deleted once it has been idle.
    - idle_s: for how long it must have been idle.
  EOT
  type = object({
    cluster     = string
    delete_idle = bool
    idle_s      = number
    location    = string
  })
  default = null
}

variable "jobs_bucket" {
  description = "Bucket of jobs and leases."
  type        = string
  nullable    = false
}

variable "labels" {
  description = "Labels of the function."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "The platform's name: prefix of every id, and the label of what the function may delete."
  type        = string
  nullable    = false
}

variable "project_id" {
  description = "Project of the platform."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the function and of its schedule."
  type        = string
  nullable    = false
}

variable "settings" {
  description = <<-EOT
    When a node goes away:
    - drain_s: what a running job gets to end, once its node has to go.
    - dry_run: only log what would be deleted.
    - grace_s: from a node's first READY until it counts as forgotten where it has no lease.
    - keep_warm_s: how long a node stays warm for the next call, where neither call nor pool says it.
    - max_lifetime_s: from creation, used or not.
    - schedule: cron expression, in UTC.
  EOT
  type = object({
    drain_s        = optional(number, 300)
    dry_run        = optional(bool, false)
    grace_s        = optional(number, 600)
    keep_warm_s    = optional(number, 900)
    max_lifetime_s = optional(number, 86400)
    schedule       = optional(string, "*/5 * * * *")
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for seconds in [var.settings.drain_s, var.settings.grace_s, var.settings.max_lifetime_s] :
      seconds >= 1 && floor(seconds) == seconds
    ])
    error_message = "drain_s, grace_s and max_lifetime_s of the idle shutdown must be whole numbers of seconds, at least 1."
  }
  validation {
    condition     = var.settings.keep_warm_s >= 0 && var.settings.keep_warm_s <= var.settings.max_lifetime_s
    error_message = "keep_warm_s of the idle shutdown must be between 0 and max_lifetime_s: a node cannot stay warm for longer than it may live. Lower keep_warm_s or raise max_lifetime_s."
  }
  validation {
    condition     = can(regex("^(\\*|\\*/([1-9]|1[0-5])) \\* \\* \\* \\*$", var.settings.schedule))
    error_message = "schedule of the idle shutdown must be \"*/N * * * *\" with N from 1 to 15: a forgotten node costs money until the next pass, at night too."
  }
}

variable "zones" {
  description = "Zones in which nodes are looked for."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.zones) > 0 && alltrue([for zone in var.zones : can(regex("^[a-z]+(-[a-z]+)+[0-9]+-[a-z][a-z0-9]*$", zone))])
    error_message = "zones must name at least one zone, each like \"us-central1-a\": nodes elsewhere would never be shut down."
  }
}
