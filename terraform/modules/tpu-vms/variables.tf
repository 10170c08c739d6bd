variable "external_ip" {
  description = "Whether nodes get an external address, for egress alone."
  type        = bool
  nullable    = false
}

variable "labels" {
  description = "Labels of the nodes; a queued resource's node can have none."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "The platform's name: the label by which the idle shutdown knows its nodes."
  type        = string
  nullable    = false
}

variable "network" {
  description = "Id of the VPC."
  type        = string
  nullable    = false
}

variable "project_id" {
  description = "Project of the platform."
  type        = string
  nullable    = false
}

variable "subnetworks" {
  description = "Region to the id of its subnet."
  type        = map(string)
  nullable    = false
}

variable "vms" {
  description = <<-EOT
    Standing nodes, by name.
    - accelerator: in the Cloud TPU API's spelling.
    - node: its name in Google Cloud.
    - queued_resource: name of the queued resource that makes it; null: made at once.
    - runtime_version: its image.
    - service_account: what its hosts run as; null for a queued one, which cannot say it.
    - spot: true makes a node that Google may take back.
    - zone: where.
  EOT
  type = map(object({
    accelerator     = string
    node            = string
    queued_resource = string
    runtime_version = string
    service_account = string
    spot            = bool
    zone            = string
  }))
  nullable = false

  validation {
    condition     = alltrue([for vm in var.vms : !(vm.queued_resource != null && vm.spot)])
    error_message = "${join(", ", [for key, vm in var.vms : key if vm.queued_resource != null && vm.spot])}: queued and spot, but the provider's queued resource cannot say spot. Leave queued_resource out, or let the launcher queue it from a pool."
  }
  validation {
    condition     = alltrue([for vm in var.vms : (vm.queued_resource == null) == (vm.service_account != null)])
    error_message = "${join(", ", [for key, vm in var.vms : key if(vm.queued_resource == null) != (vm.service_account != null)])}: a queued node cannot say its service account, and any other one has to. Give service_account exactly where queued_resource is null."
  }
  validation {
    condition     = alltrue([for vm in var.vms : try(contains(keys(var.subnetworks), regex("^(.+)-[^-]+$", vm.zone)[0]), false)])
    error_message = "${join(", ", [for key, vm in var.vms : "${key} in ${vm.zone}" if !try(contains(keys(var.subnetworks), regex("^(.+)-[^-]+$", vm.zone)[0]), false)])}: there is no subnet in that region. Add one to subnetworks, or take a zone of ${join(", ", keys(var.subnetworks))}."
  }
}
