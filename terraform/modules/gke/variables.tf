variable "labels" {
  description = "Labels of the cluster and its nodes. launcher-platform is what lets the idle-shutdown touch the cluster."
  type        = map(string)
  nullable    = false
}

variable "location" {
  description = "Zone of the control plane, whose management fee the billing account's free credit covers, or a region: three of them, and no credit."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+[0-9]+(-[a-z][a-z0-9]*)?$", var.location))
    error_message = "location is \"${var.location}\". Give a zone such as us-central1-a or a region such as us-central1."
  }
}

variable "name" {
  description = "Name of the platform and of the cluster."
  type        = string
  nullable    = false
}

variable "network" {
  description = "Id of the VPC."
  type        = string
  nullable    = false
}

variable "node_pools" {
  description = <<-EOT
    TPU node pools by name. Each starts without nodes, grows when a Pod asks for its TPUs and goes back to none.
    - flex_start: nodes that wait for hardware that is free and live up to seven days, cheaper than on demand.
    - machine_type: as GKE calls it: ct6e-standard-4t is one host with four chips.
    - max_nodes: most nodes in each zone, 1 where it is left out; of a slice with several hosts always all of them.
    - max_run_duration_s: how long a node lives at most; Google takes it then, whoever uses it.
    - queued_provisioning: nodes come only through Kubernetes' ProvisioningRequest, all at once.
    - reservation: name of the reservation that the nodes come from; null: from none.
    - spot: cheaper nodes, which Google can take back at any time.
    - topology: of the slice, such as 4x4; can be left out where one host is the whole slice.
    - zones: where its nodes may be; exactly one where a slice has several hosts.
  EOT
  type = map(object({
    flex_start          = optional(bool, false)
    machine_type        = string
    max_nodes           = optional(number)
    max_run_duration_s  = optional(number)
    queued_provisioning = optional(bool, false)
    reservation         = optional(string)
    spot                = optional(bool, false)
    topology            = optional(string)
    zones               = list(string)
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for key in keys(var.node_pools) : can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", key)) && key != "system"])
    error_message = "node_pools: ${join(", ", [for key in keys(var.node_pools) : "\"${key}\"" if !can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", key)) || key == "system"])} cannot be a node pool's name. Use 1 to 40 lower-case letters, digits and dashes, a letter first and no dash last; system is taken."
  }
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false
}

variable "service_account" {
  description = <<-EOT
    Account of every node. Pods do not see it: they have accounts of their own through Workload Identity.
    - email: its address.
    - member: the same as IAM spells it.
  EOT
  type = object({
    email  = string
    member = string
  })
  nullable = false
}

variable "subnetwork" {
  description = "Id of the subnet in the cluster's region, with secondary ranges called pods and services."
  type        = string
  nullable    = false
}
