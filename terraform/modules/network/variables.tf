variable "cidrs" {
  description = "Region to the IPv4 range of its subnet: one subnet for each region in which nodes or a cluster may be."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(var.cidrs) > 0
    error_message = "cidrs names no region, so there would be no subnet for a node. Add one, such as { us-central1 = \"10.0.0.0/20\" }."
  }
  validation {
    condition     = alltrue([for region in keys(var.cidrs) : can(regex("^[a-z]+(-[a-z]+)+[0-9]+$", region))])
    error_message = "cidrs: ${join(", ", [for region in keys(var.cidrs) : "\"${region}\"" if !can(regex("^[a-z]+(-[a-z]+)+[0-9]+$", region))])} is no region. Write it as us-central1, without a zone's letter."
  }
}

variable "gke" {
  description = <<-EOT
    Ranges for a GKE cluster, as secondary ranges of one region's subnet; null adds none.
    - pods_cidr: range of the Pods; the secondary range is called pods.
    - region: region of the cluster, one of the keys of cidrs.
    - services_cidr: range of the Services; the secondary range is called services.
  EOT
  type = object({
    pods_cidr     = string
    region        = string
    services_cidr = string
  })
  default = null
}

variable "name" {
  description = "Name of the platform: that of the network, of every subnet, router and NAT, and the prefix of the firewall rules."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "name is \"${var.name}\". Use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last: every id of the platform begins with it."
  }
}

variable "nat" {
  description = "Whether a private network reaches the internet through Cloud NAT, one gateway per region. Only read when private."
  type        = bool
  default     = true
  nullable    = false
}

variable "private" {
  description = "Whether nodes have no external addresses. The callers leave the addresses away; here it adds NAT."
  type        = bool
  default     = false
  nullable    = false
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false
}
