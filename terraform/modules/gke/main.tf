resource "google_container_cluster" "this" {
  project    = var.project_id
  name       = var.name
  location   = var.location
  network    = var.network
  subnetwork = var.subnetwork

  # Terraform's own protection only: the idle-shutdown deletes through the API, and one destroy is to take all away.
  deletion_protection = false

  # The default pool lives for the minutes until its deletion; it must not run as the project's default account.
  remove_default_node_pool = true
  initial_node_count       = 1
  node_config {
    service_account = var.service_account.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    shielded_instance_config {
      enable_integrity_monitoring = true
      enable_secure_boot          = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  datapath_provider = "ADVANCED_DATAPATH" # network policies without an agent on each node
  resource_labels   = var.labels

  release_channel {
    channel = "REGULAR"
  }
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  # No address of the control plane can be reached from outside: its DNS name can, and asks IAM first. So neither the
  # launcher nor the idle-shutdown needs a bastion or a VPC connector.
  private_cluster_config {
    enable_private_endpoint = true
    enable_private_nodes    = true
  }
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = true
    }
    ip_endpoints_config {
      enabled = false
    }
  }

  workload_identity_config {
    workload_pool = "${var.project_id}.svc.id.goog"
  }
  cluster_autoscaling {
    autoscaling_profile = "OPTIMIZE_UTILIZATION" # empties idle nodes sooner
  }
  addons_config {
    gcs_fuse_csi_driver_config {
      enabled = true # data sets and checkpoints as files
    }
  }

  lifecycle {
    ignore_changes = [node_config] # of the default pool, which is gone

    precondition {
      condition     = contains(keys(var.labels), "launcher-platform")
      error_message = "labels has no launcher-platform: without it the idle-shutdown leaves the cluster alone. Add launcher-platform = \"${var.name}\"."
    }
  }
}

# why: nodes send their logs and metrics, which is all that this role allows.
resource "google_project_iam_member" "node" {
  project = var.project_id
  role    = "roles/container.defaultNodeServiceAccount"
  member  = var.service_account.member
}

# GKE's own Pods need a place; they do not fit on TPU nodes, whose taint keeps them away.
resource "google_container_node_pool" "system" {
  project        = var.project_id
  name           = "system"
  cluster        = google_container_cluster.this.id
  location       = var.location
  node_locations = local.is_zone ? [var.location] : try([sort(flatten([for pool in var.node_pools : pool.zones]))[0]], null)

  autoscaling {
    min_node_count = 1
    max_node_count = 3
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "e2-standard-2" # GKE's Pods ask for more than the one core of an e2-medium
    service_account = var.service_account.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels = var.labels

    shielded_instance_config {
      enable_integrity_monitoring = true
      enable_secure_boot          = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count, node_count] # the autoscaler's
  }

  depends_on = [google_project_iam_member.node]
}

# GKE itself adds the nodes' TPU labels and the taint google.com/tpu.
resource "google_container_node_pool" "tpu" {
  for_each       = var.node_pools
  project        = var.project_id
  name           = each.key
  cluster        = google_container_cluster.this.id
  location       = var.location
  node_locations = each.value.zones

  autoscaling {
    min_node_count  = 0
    max_node_count  = local.hosts[each.key] > 1 ? local.hosts[each.key] : coalesce(each.value.max_nodes, 1) # in each zone
    location_policy = "ANY"                                                                                 # whichever zone has hardware
  }
  management {
    auto_repair  = !(each.value.flex_start || each.value.queued_provisioning) # Google does not repair nodes that it lends
    auto_upgrade = true
  }
  node_config {
    flex_start       = each.value.flex_start ? true : null
    machine_type     = each.value.machine_type
    max_run_duration = each.value.max_run_duration_s == null ? null : "${each.value.max_run_duration_s}s"
    oauth_scopes     = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels  = var.labels
    service_account  = var.service_account.email
    spot             = each.value.spot

    reservation_affinity {
      consume_reservation_type = each.value.reservation == null ? "NO_RESERVATION" : "SPECIFIC_RESERVATION"
      key                      = each.value.reservation == null ? null : "compute.googleapis.com/reservation-name"
      values                   = each.value.reservation == null ? null : [each.value.reservation]
    }
    shielded_instance_config {
      enable_integrity_monitoring = true
      enable_secure_boot          = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  # Hosts of one slice must be next to each other; a host that is a slice by itself must not say so.
  dynamic "placement_policy" {
    for_each = local.hosts[each.key] > 1 ? [each.value.topology] : []
    content {
      type         = "COMPACT"
      tpu_topology = placement_policy.value
    }
  }
  dynamic "queued_provisioning" {
    for_each = each.value.queued_provisioning ? [true] : []
    content {
      enabled = true
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count, node_count] # the autoscaler's, and the idle-shutdown's

    precondition {
      condition     = local.pools[each.key].machine != null || startswith(each.value.machine_type, "tpu7x")
      error_message = "node_pools[\"${each.key}\"]: machine type \"${each.value.machine_type}\" is unknown. The nearest are ${join(", ", local.nearest_machines[each.key])}."
    }
    precondition {
      condition     = !startswith(each.value.machine_type, "tpu7x")
      error_message = "node_pools[\"${each.key}\"]: ${each.value.machine_type} is TPU7x, whose hosts are placed by a workload policy, which this module does not make. Take a generation up to v6e, such as ct6e-standard-4t."
    }
    precondition {
      condition     = local.known_topology[each.key]
      error_message = "node_pools[\"${each.key}\"]: topology \"${coalesce(each.value.topology, "null")}\" is no slice of ${local.pools[each.key].generation}. The nearest: ${join(", ", [for topology in local.nearest_topologies[each.key] : reverse(split(" ", topology))[0]])}."
    }
    precondition {
      condition = (
        local.pools[each.key].machine == null || !local.known_topology[each.key] || each.value.topology == null ||
        contains(local.fitting_machines[each.key], each.value.machine_type)
      )
      error_message = "node_pools[\"${each.key}\"]: hosts of ${each.value.machine_type} (${try(local.pools[each.key].machine.chips, 0)} chips each) cannot make a slice of ${local.pools[each.key].chips} chips, which ${coalesce(each.value.topology, "null")} has. Take ${join(" or ", local.fitting_machines[each.key])}, or another topology."
    }
    precondition {
      condition     = length(each.value.zones) > 0 && length(distinct(each.value.zones)) == length(each.value.zones)
      error_message = "node_pools[\"${each.key}\"]: zones is [${join(", ", each.value.zones)}]. Name at least one zone, and each once."
    }
    precondition {
      condition     = local.hosts[each.key] == 1 || length(each.value.zones) <= 1
      error_message = "node_pools[\"${each.key}\"]: a slice of ${local.hosts[each.key]} hosts lies in one zone, but zones names ${join(", ", each.value.zones)}. Keep one of them, and make a pool for each other one."
    }
    precondition {
      condition     = alltrue([for zone in each.value.zones : try(regex(local.zone_pattern, zone)[0], "") == local.region])
      error_message = "node_pools[\"${each.key}\"]: ${join(", ", [for zone in each.value.zones : "\"${zone}\"" if try(regex(local.zone_pattern, zone)[0], "") != local.region])} is no zone of ${local.region}, where the cluster is. Take zones of that region, such as ${local.region}-a, or move the cluster."
    }
    precondition {
      condition     = length(local.zones_with[each.key]) == 0 || alltrue([for zone in each.value.zones : contains(local.zones_with[each.key], zone) || try(regex(local.zone_pattern, zone)[0], "") != local.region])
      error_message = "node_pools[\"${each.key}\"]: zone ${join(", ", [for zone in each.value.zones : zone if !contains(local.zones_with[each.key], zone)])} has no ${local.pools[each.key].generation}. It is in ${join(", ", local.zones_with[each.key])}."
    }
    precondition {
      condition     = local.hosts[each.key] == 1 || each.value.max_nodes == null || each.value.max_nodes == local.hosts[each.key]
      error_message = "node_pools[\"${each.key}\"]: max_nodes is ${coalesce(each.value.max_nodes, 0)}, but a slice of topology ${coalesce(each.value.topology, "null")} has ${local.hosts[each.key]} hosts of ${each.value.machine_type}, which come and go together. Leave max_nodes out, or set it to ${local.hosts[each.key]}; for more slices make more pools."
    }
    precondition {
      condition     = each.value.max_nodes == null ? true : each.value.max_nodes >= 1 && floor(each.value.max_nodes) == each.value.max_nodes
      error_message = "node_pools[\"${each.key}\"]: max_nodes is ${coalesce(each.value.max_nodes, 0)}. Give a whole number, 1 or more; leave out a pool that is to have no nodes."
    }
    precondition {
      condition     = length([for way in [each.value.spot, each.value.flex_start, each.value.reservation != null] : way if way]) <= 1
      error_message = "node_pools[\"${each.key}\"]: spot, flex_start and reservation are three ways to get a node, and it has ${join(" and ", compact([each.value.spot ? "spot" : "", each.value.flex_start ? "flex_start" : "", each.value.reservation != null ? "reservation" : ""]))}. Keep one of them, and make a pool for each other one."
    }
    precondition {
      condition     = !each.value.queued_provisioning || !(each.value.spot || each.value.reservation != null)
      error_message = "node_pools[\"${each.key}\"]: queued_provisioning waits for nodes on demand or with flex_start, not for ${each.value.spot ? "spot ones" : "a reservation's"}. Remove ${each.value.spot ? "spot" : "reservation"} or queued_provisioning."
    }
    precondition {
      condition     = each.value.max_run_duration_s == null ? true : each.value.max_run_duration_s >= 600 && floor(each.value.max_run_duration_s) == each.value.max_run_duration_s
      error_message = "node_pools[\"${each.key}\"]: max_run_duration_s is ${coalesce(each.value.max_run_duration_s, 0)}. Give whole seconds, 600 (ten minutes) or more: a node needs some of them to start."
    }
    precondition {
      condition     = !each.value.flex_start || coalesce(each.value.max_run_duration_s, 604800) <= 604800
      error_message = "node_pools[\"${each.key}\"]: max_run_duration_s is ${coalesce(each.value.max_run_duration_s, 0)}, but a node of flex_start lives 604800 seconds (seven days) at most. Lower it, or remove flex_start."
    }
  }

  depends_on = [google_project_iam_member.node]
}
