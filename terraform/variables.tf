variable "alerts" {
  description = <<-EOT
    Alert policies and the dashboard.
    - emails: who is told, at most 5; each address gets a notification channel.
    - enabled: false makes no alert, channel or dashboard.
    - usd_per_hour: list price of all nodes together above which an alert tells of it; null: never.
  EOT
  type = object({
    emails       = optional(list(string), [])
    enabled      = optional(bool, true)
    usd_per_hour = optional(number)
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for email in var.alerts.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "alerts.emails: ${join(", ", [for email in var.alerts.emails : "\"${email}\"" if !can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])} is no e-mail address. Write it as ada@example.com."
  }

  validation {
    condition     = length(var.alerts.emails) <= 5
    error_message = "alerts.emails names ${length(var.alerts.emails)} addresses, but a budget can tell 5 at most. Give a group's address, which reaches more people."
  }

  validation {
    condition     = var.alerts.usd_per_hour == null ? true : var.alerts.usd_per_hour > 0
    error_message = "alerts.usd_per_hour is ${coalesce(var.alerts.usd_per_hour, 0)}. Give US dollars above 0, or leave it out for no alert on spend."
  }
}

variable "budget" {
  description = <<-EOT
    Monthly budget and the guard that acts on it. Null: off. It needs the right to make budgets on the billing account.
    - amount: in whole units of the currency.
    - billing_account: as 012345-6789AB-CDEF01.
    - currency: that of the billing account.
    - drain_busy: true lets the guard end busy nodes too, once the budget is used up.
    - thresholds: shares of the amount at which Google sends a message.
  EOT
  type = object({
    amount          = number
    billing_account = string
    currency        = optional(string, "USD")
    drain_busy      = optional(bool, false)
    thresholds      = optional(list(number), [0.5, 0.9, 1.0])
  })
  default = null

  validation {
    condition     = var.budget == null ? true : var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount
    error_message = "budget.amount is ${try(var.budget.amount, "null")}. Give a whole number of ${try(var.budget.currency, "units")}, 1 or more."
  }

  validation {
    condition     = var.budget == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget.billing_account is \"${try(var.budget.billing_account, "null")}\". Write it as 012345-6789AB-CDEF01; `gcloud billing accounts list` shows yours."
  }

  validation {
    condition     = var.budget == null ? true : can(regex("^[A-Z]{3}$", var.budget.currency))
    error_message = "budget.currency is \"${try(var.budget.currency, "null")}\". Give the billing account's currency in three capital letters, such as USD."
  }

  validation {
    condition     = var.budget == null ? true : length(var.budget.thresholds) > 0 && alltrue([for share in var.budget.thresholds : share > 0 && share <= 10])
    error_message = "budget.thresholds is ${jsonencode(try(var.budget.thresholds, null))}. Give at least one share of the amount, each above 0 and at most 10: 0.9 means 90 %."
  }

  validation {
    condition     = var.budget == null ? true : anytrue([for share in var.budget.thresholds : share >= 1])
    error_message = "budget.thresholds is ${jsonencode(try(var.budget.thresholds, null))}: the guard acts when the whole budget is used up, and hears of it only through a threshold. Add 1.0."
  }
}

variable "gke" {
  description = <<-EOT
    A GKE cluster with TPU node pools. Null: off.
    - delete_idle: true lets the idle shutdown delete the whole cluster once nothing has run in it for idle_s.
    - idle_s: how long a pool or the cluster may be without work.
    - location: a zone (one free of management fees per billing account) or a region of the control plane.
    - node_pools: TPU node pools by name; see the module gke.
    - pods_cidr: range of the Pods.
    - services_cidr: range of the Services.
  EOT
  type = object({
    delete_idle = optional(bool, false)
    idle_s      = optional(number, 3600)
    location    = string
    node_pools = optional(map(object({
      flex_start          = optional(bool, false)
      machine_type        = string
      max_nodes           = optional(number)
      max_run_duration_s  = optional(number)
      queued_provisioning = optional(bool, false)
      reservation         = optional(string)
      spot                = optional(bool, false)
      topology            = optional(string)
      zones               = list(string)
    })), {})
    pods_cidr     = optional(string, "10.4.0.0/14")
    services_cidr = optional(string, "10.8.0.0/20")
  })
  default = null

  validation {
    condition     = var.gke == null ? true : can(regex("^[a-z]+(-[a-z]+)+[0-9]+(-[a-z][a-z0-9]*)?$", var.gke.location))
    error_message = "gke.location is \"${try(var.gke.location, "null")}\". Give a zone such as us-central1-a or a region such as us-central1."
  }

  validation {
    condition     = var.gke == null ? true : contains(keys(local.cidrs), try(regex("^[a-z]+(?:-[a-z]+)+[0-9]+", var.gke.location), var.region))
    error_message = "gke.location is ${try(var.gke.location, "null")}, in whose region the platform has no subnet (it has one in ${join(", ", keys(local.cidrs))}). Give network.cidrs a free range for that region, or take another location."
  }

  validation {
    condition     = var.gke == null ? true : var.gke.idle_s >= 1 && floor(var.gke.idle_s) == var.gke.idle_s
    error_message = "gke.idle_s is ${try(var.gke.idle_s, "null")}. Give whole seconds, 1 or more."
  }
}

variable "idle_shutdown" {
  description = <<-EOT
    The idle shutdown: what it waits for, in seconds, and when it runs.
    - drain_s: how long a live holder has to let go of a node that is too old.
    - dry_run: true only logs what would be deleted.
    - grace_s: how long a new node may be without a lease.
    - keep_warm_s: how long an idle node stays, unless its pool or VM says otherwise.
    - max_lifetime_s: how old a node may become, busy or not, unless its pool or VM says otherwise.
    - schedule: when it runs, in cron format, UTC.
  EOT
  type = object({
    drain_s        = optional(number, 300)
    dry_run        = optional(bool, false)
    grace_s        = optional(number, 600)
    keep_warm_s    = optional(number, 900)
    max_lifetime_s = optional(number, 86400)
    schedule       = optional(string, "*/5 * * * *")
  })
  nullable = false
  default  = {}

  validation {
    condition = alltrue([
      for seconds in [var.idle_shutdown.drain_s, var.idle_shutdown.grace_s] : seconds >= 1 && floor(seconds) == seconds
    ])
    error_message = "idle_shutdown: drain_s is ${var.idle_shutdown.drain_s} and grace_s ${var.idle_shutdown.grace_s}. Give each in whole seconds, 1 or more."
  }

  validation {
    condition     = var.idle_shutdown.keep_warm_s >= 0 && floor(var.idle_shutdown.keep_warm_s) == var.idle_shutdown.keep_warm_s
    error_message = "idle_shutdown.keep_warm_s is ${var.idle_shutdown.keep_warm_s}. Give whole seconds, 0 or more; 0 deletes a node after each call."
  }

  validation {
    condition     = var.idle_shutdown.max_lifetime_s >= 1 && floor(var.idle_shutdown.max_lifetime_s) == var.idle_shutdown.max_lifetime_s
    error_message = "idle_shutdown.max_lifetime_s is ${var.idle_shutdown.max_lifetime_s}. Give whole seconds, 1 or more; 86400 is a day."
  }

  validation {
    condition     = var.idle_shutdown.keep_warm_s <= var.idle_shutdown.max_lifetime_s
    error_message = "idle_shutdown.keep_warm_s is ${var.idle_shutdown.keep_warm_s}, longer than max_lifetime_s, ${var.idle_shutdown.max_lifetime_s}: no node could be kept warm so long. Lower keep_warm_s or raise max_lifetime_s."
  }

  validation {
    condition     = can(regex("^(\\*|\\*/([1-9]|1[0-5])) \\* \\* \\* \\*$", var.idle_shutdown.schedule))
    error_message = "idle_shutdown.schedule is \"${var.idle_shutdown.schedule}\". Write it as \"*/N * * * *\" with N from 1 to 15: a forgotten node costs money until the next pass, at night too."
  }
}

variable "kms_key" {
  description = "Cloud KMS key for the buckets and the functions' archives, as projects/P/locations/L/keyRings/R/cryptoKeys/K; null: Google's own keys. Cloud Storage has to be allowed to use it first: see modules/storage."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null ? true : can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is \"${coalesce(var.kms_key, "null")}\". Write it as projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }

  validation {
    condition     = var.kms_key == null ? true : lower(try(split("/", var.kms_key)[3], "")) == lower(coalesce(var.storage.location, var.region))
    error_message = "kms_key lies in ${try(split("/", var.kms_key)[3], "no location")}, the buckets in ${coalesce(var.storage.location, var.region)}: Cloud Storage takes a key of the bucket's own location only. Use a key from there, or set storage.location."
  }
}

variable "labels" {
  description = "Labels of everything that can carry some."
  type        = map(string)
  nullable    = false
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels: ${join(", ", [for key, value in var.labels : "${key} = \"${value}\"" if !(can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value)))])} is none that Google Cloud takes. Use lower-case letters, digits, _ and -, at most 63, the key starting with a letter."
  }

  validation {
    condition     = alltrue([for key, value in var.labels : !startswith(key, "launcher-") && !startswith(key, "goog-")])
    error_message = "labels: ${join(", ", [for key, value in var.labels : key if startswith(key, "launcher-") || startswith(key, "goog-")])} is taken. Labels that start with launcher- tell the idle shutdown what it may delete, those with goog- are Google's: choose other keys."
  }
}

variable "launcher_users" {
  description = "Who may run jobs on every worker account of the platform: IAM members such as user:ada@example.com or group:ml@example.com."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for member in var.launcher_users : can(regex(local.member_pattern, member))])
    error_message = "launcher_users: ${join(", ", [for member in var.launcher_users : "\"${member}\"" if !can(regex(local.member_pattern, member))])} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "name" {
  description = "The platform's name: prefix of every id it makes, and the value of the label launcher-platform."
  type        = string
  nullable    = false
  default     = "tpu"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "name is \"${var.name}\". Use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last: service account ids end after 30 characters."
  }

  validation {
    condition     = !can(regex("^goog|g[o0][o0]gle", var.name))
    error_message = "name is \"${var.name}\": Cloud Storage takes no bucket name with \"google\" in it. Choose another name."
  }
}

variable "network" {
  description = <<-EOT
    The VPC and how nodes reach the internet.
    - cidrs: region to the range of its subnet; for the platform's own region 10.0.0.0/20 unless given.
    - nat: with private, Cloud NAT gives nodes the internet; false leaves Google's APIs and the platform's Python repository.
    - private: true gives nodes no external address.
  EOT
  type = object({
    cidrs   = optional(map(string), {})
    nat     = optional(bool, true)
    private = optional(bool, false)
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for region, cidr in var.network.cidrs : can(regex(local.region_pattern, region))])
    error_message = "network.cidrs: ${join(", ", [for region, cidr in var.network.cidrs : "\"${region}\"" if !can(regex(local.region_pattern, region))])} is no region. Write it as us-central1, without a zone's letter."
  }
}

variable "operators" {
  description = "Who may end anybody's nodes and jobs and lift the budget guard's freeze: IAM members such as user:ada@example.com."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex(local.member_pattern, member))])
    error_message = "operators: ${join(", ", [for member in var.operators : "\"${member}\"" if !can(regex(local.member_pattern, member))])} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "project_id" {
  description = "The project; it has to exist and to have a billing account."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is \"${var.project_id}\". Give the project's id, 6 to 30 lower-case letters, digits and dashes, neither its number nor its display name; `gcloud projects list` shows it."
  }
}

variable "region" {
  description = "Where the functions, the registry and, unless storage says otherwise, the buckets lie."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex(local.region_pattern, var.region))
    error_message = "region is \"${var.region}\". Write it as us-central1, without a zone's letter."
  }
}

variable "registry" {
  description = <<-EOT
    The Docker repository.
    - keep_images: how many versions of each image the clean-up keeps.
  EOT
  type = object({
    keep_images = optional(number, 10)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.registry.keep_images >= 1 && floor(var.registry.keep_images) == var.registry.keep_images
    error_message = "registry.keep_images is ${var.registry.keep_images}. Give a whole number, 1 or more."
  }
}

variable "secrets" {
  description = <<-EOT
    Secrets for unattended jobs, by name; the value is set outside Terraform, so that it is in no state.
    - teams: whose jobs may read it; null: every job.
  EOT
  type = map(object({
    teams = optional(list(string))
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for key, secret in var.secrets : can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,199}$", key))])
    error_message = "secrets: ${join(", ", [for key, secret in var.secrets : "\"${key}\"" if !can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,199}$", key))])} cannot be a secret's name. Use letters, digits, _ and -, a letter or _ first, at most 200."
  }

  validation {
    condition     = alltrue(flatten([for key, secret in var.secrets : [for team in coalesce(secret.teams, []) : contains(keys(var.teams), team)]]))
    error_message = "secrets: ${join(", ", flatten([for key, secret in var.secrets : [for team in coalesce(secret.teams, []) : "${key} names the team \"${team}\"" if !contains(keys(var.teams), team)]]))}, which teams does not have. Add the team there, or leave it out here."
  }
}

variable "storage" {
  description = <<-EOT
    The two buckets.
    - force_destroy: true lets a destroy delete them with what is in them.
    - job_days: how long a job's records, results and logs are kept.
    - location: a region, dual-region or multi-region; null: the platform's region.
  EOT
  type = object({
    force_destroy = optional(bool, false)
    job_days      = optional(number, 30)
    location      = optional(string)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.storage.job_days >= 1 && floor(var.storage.job_days) == var.storage.job_days
    error_message = "storage.job_days is ${var.storage.job_days}. Give a whole number of days, 1 or more."
  }

  validation {
    condition     = var.storage.location == null ? true : can(regex("^([A-Za-z]{2,4}[0-9]?|[A-Za-z]+(-[A-Za-z]+)+[0-9]+)$", var.storage.location))
    error_message = "storage.location is \"${coalesce(var.storage.location, "null")}\". Write a region such as us-central1, or a multi-region such as US."
  }
}

variable "teams" {
  description = <<-EOT
    Teams, by name, each with a worker account of its own. Empty: one worker account for everybody in launcher_users.
    - members: who may run jobs as the team: IAM members such as group:vision@example.com.
  EOT
  type = map(object({
    members = list(string)
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for key, team in var.teams : can(regex("^[a-z]([a-z0-9-]*[a-z0-9])?$", key))])
    error_message = "teams: ${join(", ", [for key, team in var.teams : "\"${key}\"" if !can(regex("^[a-z]([a-z0-9-]*[a-z0-9])?$", key))])} cannot be a team's name, which becomes part of a service account's id. Use lower-case letters, digits and dashes, a letter first and no dash last."
  }

  validation {
    condition     = alltrue([for key, team in var.teams : length("${var.name}-w-${key}") >= 6 && length("${var.name}-w-${key}") <= 30])
    error_message = "teams: ${join(", ", [for key, team in var.teams : "\"${key}\" makes the service account ${var.name}-w-${key}" if length("${var.name}-w-${key}") < 6 || length("${var.name}-w-${key}") > 30])}, and such an id has 6 to 30 characters. Choose another name for the team or the platform."
  }

  validation {
    condition     = alltrue([for key, team in var.teams : length(team.members) > 0])
    error_message = "teams: ${join(", ", [for key, team in var.teams : "\"${key}\"" if length(team.members) == 0])} has no members, so nobody could use its account. Name at least one, or remove the team."
  }

  validation {
    condition     = alltrue(flatten([for key, team in var.teams : [for member in team.members : can(regex(local.member_pattern, member))]]))
    error_message = "teams: ${join(", ", flatten([for key, team in var.teams : [for member in team.members : "\"${member}\" in ${key}" if !can(regex(local.member_pattern, member))]]))} names no one account or group. Write it as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "tpu_pools" {
  description = <<-EOT
    What the launcher may create on demand, by the pool's name.
    - accelerator: in the Cloud TPU API's spelling, such as v5litepod-8.
    - keep_warm_s: how long an idle node stays; null: idle_shutdown's.
    - max_lifetime_s: how old a node may become; null: idle_shutdown's.
    - max_nodes: how many there may be at once.
    - max_usd_per_hour: the list price that one node may have at most; null: any.
    - reservation: takes nodes from this reservation only.
    - runtime_version: the image of the nodes; null: the right one for the accelerator.
    - shared: true lets everybody use everybody's warm nodes.
    - spot: true makes nodes that Google may take back, at the spot price.
    - zones: where, in the order in which they are asked.
  EOT
  type = map(object({
    accelerator      = string
    keep_warm_s      = optional(number)
    max_lifetime_s   = optional(number)
    max_nodes        = optional(number, 1)
    max_usd_per_hour = optional(number)
    reservation      = optional(string)
    runtime_version  = optional(string)
    shared           = optional(bool, false)
    spot             = optional(bool, false)
    zones            = list(string)
  }))
  nullable = false
  default  = {}
}

variable "tpu_vms" {
  description = <<-EOT
    Standing nodes, by name: made by the apply, taken by the idle shutdown when they are idle, made again by the next apply.
    - accelerator: in the Cloud TPU API's spelling, such as v5litepod-8.
    - keep_warm_s: how long it stays idle; null: idle_shutdown's.
    - max_lifetime_s: how old it may become; null: idle_shutdown's.
    - queued: true waits for hardware in Google's queue, at the price of labels, spot and a service account of its own.
    - runtime_version: its image; null: the right one for the accelerator.
    - spot: true makes a node that Google may take back, at the spot price.
    - team: whose worker account it runs as, where there are teams.
    - zone: where.
  EOT
  type = map(object({
    accelerator     = string
    keep_warm_s     = optional(number)
    max_lifetime_s  = optional(number)
    queued          = optional(bool, false)
    runtime_version = optional(string)
    spot            = optional(bool, false)
    team            = optional(string)
    zone            = string
  }))
  nullable = false
  default  = {}
}

variable "zones" {
  description = "Further zones in which the launcher may create nodes and the idle shutdown looks for them; those of pools and VMs count anyway."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.zones) + length(var.tpu_pools) + length(var.tpu_vms) > 0
    error_message = "zones, tpu_pools and tpu_vms are all empty, so the platform has no zone. Name one in which the launcher may create nodes, such as zones = [\"us-central1-a\"]."
  }
}
