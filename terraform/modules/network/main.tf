locals {
  # Who is called what in messages, and its range. Keys sort, so that messages do not change between plans.
  ranges = merge(
    { for region, cidr in var.cidrs : "the subnet of ${region}" => cidr },
    var.gke == null ? {} : {
      "GKE's Pods"     = var.gke.pods_cidr
      "GKE's Services" = var.gke.services_cidr
    },
  )

  # Google's limits of a subnet's range; a range that has bits after its prefix is not the one that was meant.
  malformed = [
    for owner, cidr in local.ranges : "${owner} \"${cidr}\""
    if !(
      can(regex("^[0-9.]+/([89]|1[0-9]|2[0-9])$", cidr)) &&
      try(cidrhost(cidr, 0) == split("/", cidr)[0], false)
    )
  ]

  # First and last address as numbers: two ranges overlap when each begins before the other ends.
  bounds = {
    for owner, cidr in local.ranges : owner => [
      for address in [cidrhost(cidr, 0), cidrhost(cidr, -1)] :
      sum([for index, octet in split(".", address) : tonumber(octet) * pow(256, 3 - index)])
    ] if length(local.malformed) == 0
  }
  owners = keys(local.bounds)
  overlaps = flatten([
    for i, one in local.owners : [
      for other in slice(local.owners, i + 1, length(local.owners)) :
      "${one} (${local.ranges[one]}) and ${other} (${local.ranges[other]})"
      if local.bounds[one][0] <= local.bounds[other][1] && local.bounds[other][0] <= local.bounds[one][1]
    ]
  ])

  secondary_ranges = var.gke == null ? {} : { pods = var.gke.pods_cidr, services = var.gke.services_cidr }
}

resource "google_compute_network" "this" {
  project                 = var.project_id
  name                    = var.name
  auto_create_subnetworks = false
  mtu                     = 8896 # the largest: hosts of a slice and of a multislice talk to each other a lot

  lifecycle {
    precondition {
      condition     = length(local.malformed) == 0
      error_message = "${join(", ", local.malformed)}: not the range of a subnet. Write the first address of a block and a prefix from /8 to /29, such as 10.0.0.0/20."
    }
    precondition {
      condition     = length(local.overlaps) == 0
      error_message = "These ranges overlap: ${join("; ", local.overlaps)}. Give each a block of its own, such as 10.0.0.0/20, 10.0.16.0/20 and 10.0.32.0/20."
    }
    precondition {
      condition     = var.gke == null ? true : contains(keys(var.cidrs), var.gke.region)
      error_message = "The GKE cluster is in ${try(var.gke.region, "no region")}, which has no subnet: there are subnets in ${join(", ", keys(var.cidrs))}. Add a range for ${try(var.gke.region, "it")} to cidrs."
    }
  }
}

resource "google_compute_subnetwork" "this" {
  for_each      = var.cidrs
  project       = var.project_id
  region        = each.key
  name          = var.name # the same everywhere: the launcher needs one word for all regions
  network       = google_compute_network.this.id
  ip_cidr_range = each.value

  # Nodes without an external address still reach Cloud Storage, Artifact Registry and the TPU API.
  private_ip_google_access = true

  dynamic "secondary_ip_range" {
    for_each = try(var.gke.region, null) == each.key ? local.secondary_ranges : {}
    content {
      range_name    = secondary_ip_range.key
      ip_cidr_range = secondary_ip_range.value
    }
  }
  send_secondary_ip_range_if_empty = true # else the ranges stay when the cluster goes

  # No log_config: flow logs cost $0.50 per GiB (list price of network telemetry), and a slice talks in GiB.
}

# Without these two nothing comes in: a VPC refuses what no rule allows.
resource "google_compute_firewall" "iap_ssh" {
  project       = var.project_id
  name          = "${var.name}-allow-iap-ssh"
  description   = "SSH through Identity-Aware Proxy, which asks IAM first."
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  source_ranges = ["35.235.240.0/20"] # all that Identity-Aware Proxy forwards comes from there

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "internal" {
  project       = var.project_id
  name          = "${var.name}-allow-internal"
  description   = "Hosts of the platform among themselves: a slice uses ports of its own choice."
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  source_ranges = concat(values(var.cidrs), values(local.secondary_ranges))

  allow {
    protocol = "tcp"
  }
  allow {
    protocol = "udp"
  }
  allow {
    protocol = "icmp"
  }
}

resource "google_compute_router" "this" {
  for_each = var.private && var.nat ? var.cidrs : {}
  project  = var.project_id
  region   = each.key
  name     = var.name
  network  = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  for_each                           = google_compute_router.this
  project                            = var.project_id
  region                             = each.key
  name                               = var.name
  router                             = each.value.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  # 64 ports per VM at rest, more when an installer opens many connections at once.
  enable_dynamic_port_allocation = true
  min_ports_per_vm               = 64

  log_config {
    enable = true
    filter = "ERRORS_ONLY" # dropped connections only: these few lines are in the free 50 GiB a month
  }
}
