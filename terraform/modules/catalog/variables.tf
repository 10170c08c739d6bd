variable "name" {
  description = "The platform's name: prefix of every node's id."
  type        = string
  nullable    = false
}

variable "regions" {
  description = "Regions that have a subnet."
  type        = list(string)
  nullable    = false
}

variable "teams" {
  description = "Names of the teams that have worker accounts of their own."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "times" {
  description = <<-EOT
    What holds where a pool or VM says nothing.
    - keep_warm_s: how long an idle node stays.
    - max_lifetime_s: how old a node may become.
  EOT
  type = object({
    keep_warm_s    = number
    max_lifetime_s = number
  })
  nullable = false
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
  description = "Further zones in which the launcher may create nodes."
  type        = list(string)
  default     = []
  nullable    = false
}
