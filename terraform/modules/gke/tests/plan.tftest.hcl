variables {
  labels          = { launcher-platform = "tpu", team = "research" }
  location        = "us-central1-a"
  name            = "tpu"
  network         = "projects/demo-project/global/networks/tpu"
  project_id      = "demo-project"
  service_account = { email = "tpu-worker@demo-project.iam.gserviceaccount.com", member = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  subnetwork      = "projects/demo-project/regions/us-central1/subnetworks/tpu"
}

run "cluster" {
  command = plan

  assert {
    condition     = google_container_cluster.this.private_cluster_config[0].enable_private_nodes && google_container_cluster.this.private_cluster_config[0].enable_private_endpoint
    error_message = "Neither nodes nor the control plane may have an external address."
  }
  assert {
    condition     = !google_container_cluster.this.control_plane_endpoints_config[0].ip_endpoints_config[0].enabled && google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].allow_external_traffic
    error_message = "The control plane must be reached by its DNS name alone."
  }
  assert {
    condition     = google_container_cluster.this.workload_identity_config[0].workload_pool == "demo-project.svc.id.goog"
    error_message = "Pods must have accounts of their own."
  }
  assert {
    condition     = google_container_cluster.this.datapath_provider == "ADVANCED_DATAPATH" && google_container_cluster.this.release_channel[0].channel == "REGULAR"
    error_message = "The cluster must have the newer data path and the regular channel."
  }
  assert {
    condition     = google_container_cluster.this.remove_default_node_pool && google_container_cluster.this.node_config[0].service_account == var.service_account.email
    error_message = "The default pool must go, and not run as the project's default account until then."
  }
  assert {
    condition     = !google_container_cluster.this.deletion_protection && google_container_cluster.this.resource_labels["launcher-platform"] == "tpu"
    error_message = "A destroy must work, and the idle-shutdown must know the cluster by its label."
  }
  assert {
    condition     = google_container_cluster.this.ip_allocation_policy[0].cluster_secondary_range_name == "pods" && google_container_cluster.this.ip_allocation_policy[0].services_secondary_range_name == "services"
    error_message = "The ranges must be called what the network module calls them."
  }
  assert {
    condition     = google_project_iam_member.node.role == "roles/container.defaultNodeServiceAccount" && google_project_iam_member.node.member == var.service_account.member
    error_message = "Nodes must have the least role that they work with."
  }
  assert {
    condition     = google_container_node_pool.system.node_locations == toset(["us-central1-a"]) && google_container_node_pool.system.autoscaling[0].min_node_count == 1
    error_message = "One small node must be enough for an idle cluster."
  }
  assert {
    condition     = length(google_container_node_pool.tpu) == 0
    error_message = "There are no TPU pools but those that were asked for."
  }
}

run "pools" {
  command = plan
  variables {
    location = "us-central1"
    node_pools = {
      flex     = { machine_type = "ct5p-hightpu-4t", topology = "2x2x2", flex_start = true, queued_provisioning = true, max_run_duration_s = 604800, zones = ["us-central1-a"] }
      one      = { machine_type = "ct6e-standard-4t", max_nodes = 3, spot = true, zones = ["us-central1-b"] }
      one-8    = { machine_type = "ct5lp-hightpu-8t", topology = "2x4", zones = ["us-central1-a"] }
      reserved = { machine_type = "ct6e-standard-1t", topology = "1x1", reservation = "ours", max_run_duration_s = 3600, zones = ["us-central1-b"] }
      slice    = { machine_type = "ct6e-standard-4t", topology = "4x4", max_nodes = 4, zones = ["us-central1-b"] }
      cube     = { machine_type = "ct5p-hightpu-4t", topology = "4x8x8", zones = ["us-central1-a"] }
    }
  }

  assert {
    condition     = { for key, pool in google_container_node_pool.tpu : key => pool.autoscaling[0].max_node_count } == { cube = 64, flex = 2, one = 3, one-8 = 1, reserved = 1, slice = 4 }
    error_message = "A slice of several hosts must have all of them or none; else max_nodes counts."
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.tpu : pool.autoscaling[0].min_node_count == 0 && pool.autoscaling[0].location_policy == "ANY"])
    error_message = "Every pool must go to no nodes, and take them where there are any."
  }
  assert {
    condition     = { for key, pool in google_container_node_pool.tpu : key => [for policy in pool.placement_policy : "${policy.type} ${policy.tpu_topology}"] } == { cube = ["COMPACT 4x8x8"], flex = ["COMPACT 2x2x2"], one = [], one-8 = [], reserved = [], slice = ["COMPACT 4x4"] }
    error_message = "Only slices of several hosts may have a placement policy, and they must have one."
  }
  assert {
    condition     = { for key, pool in google_container_node_pool.tpu : key => pool.management[0].auto_repair if !pool.management[0].auto_repair } == { flex = false }
    error_message = "Repair must be off for flex_start and queued_provisioning, and on for all others."
  }
  assert {
    condition     = google_container_node_pool.tpu["flex"].node_config[0].flex_start && google_container_node_pool.tpu["flex"].queued_provisioning[0].enabled && google_container_node_pool.tpu["flex"].node_config[0].max_run_duration == "604800s"
    error_message = "What was asked of the pool flex must be in it."
  }
  assert {
    condition     = google_container_node_pool.tpu["one"].node_config[0].spot && !google_container_node_pool.tpu["slice"].node_config[0].spot
    error_message = "Only the pool that says spot may be spot."
  }
  assert {
    condition     = { for key, pool in google_container_node_pool.tpu : key => pool.node_config[0].reservation_affinity[0].values if pool.node_config[0].reservation_affinity[0].consume_reservation_type != "NO_RESERVATION" } == { reserved = toset(["ours"]) }
    error_message = "Only the pool that names a reservation may take nodes from one."
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.tpu : pool.node_config[0].service_account == var.service_account.email && pool.node_config[0].workload_metadata_config[0].mode == "GKE_METADATA" && pool.node_config[0].shielded_instance_config[0].enable_secure_boot])
    error_message = "Pods must not see the node's account, and nodes must boot securely."
  }
  assert {
    condition     = google_container_node_pool.system.node_locations == toset(["us-central1-a"])
    error_message = "The system pool of a cluster in a region must be in one zone, not in three."
  }
  assert {
    condition     = output.cluster.node_pools["slice"] == { hosts = 4, node_selector = { "cloud.google.com/gke-nodepool" = "slice", "cloud.google.com/gke-tpu-accelerator" = "tpu-v6e-slice", "cloud.google.com/gke-tpu-topology" = "4x4" } }
    error_message = "The output must say how Pods ask for the pool."
  }
  assert {
    condition     = output.cluster.node_pools["one"] == { hosts = 1, node_selector = { "cloud.google.com/gke-nodepool" = "one", "cloud.google.com/gke-tpu-accelerator" = "tpu-v6e-slice", "cloud.google.com/gke-tpu-topology" = "2x2" } }
    error_message = "Pods for a slice of one host must name its topology too."
  }
}

# ---- one run for each rule ----

run "unknown_machine_type" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-2t", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "machine_type_of_the_tpu_api" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "v5litepod-8", zones = ["us-central1-a"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "tpu7x" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "tpu7x-standard-4t", topology = "2x2x1", zones = ["us-central1-c"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "unknown_topology" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "3x4", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "topology_the_wrong_way_round" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "4x2", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "topology_that_is_none" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "big", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "topology_of_another_generation" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "2x2x2", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "topology_larger_than_a_pod" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct5p-hightpu-4t", topology = "64x64x64", zones = ["us-central1-a"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "machine_that_makes_no_such_slice" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-8t", topology = "4x4", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "machine_larger_than_the_slice" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "1x1", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "no_zones" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", zones = [] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "a_zone_twice" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", zones = ["us-central1-b", "us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "multi_host_in_two_zones" {
  command = plan
  variables {
    location   = "us-east5"
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "4x4", zones = ["us-east5-a", "us-east5-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "zone_of_another_region" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", zones = ["us-east5-a"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "zone_that_is_none" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", zones = ["us-central1"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "zone_without_that_tpu" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", zones = ["us-central1-a"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "max_nodes_of_a_multi_host_slice" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", topology = "4x4", max_nodes = 8, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "max_nodes_of_zero" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", max_nodes = 0, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "spot_with_reservation" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", spot = true, reservation = "ours", zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "flex_start_with_spot" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", spot = true, flex_start = true, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "flex_start_with_reservation" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", reservation = "ours", flex_start = true, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "queued_provisioning_with_spot" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", spot = true, queued_provisioning = true, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "queued_provisioning_with_reservation" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", reservation = "ours", queued_provisioning = true, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "max_run_duration_too_short" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", max_run_duration_s = 60, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "flex_start_for_more_than_seven_days" {
  command = plan
  variables {
    node_pools = { x = { machine_type = "ct6e-standard-4t", flex_start = true, max_run_duration_s = 604801, zones = ["us-central1-b"] } }
  }
  expect_failures = [google_container_node_pool.tpu]
}

run "pool_name" {
  command = plan
  variables {
    node_pools = { Slice = { machine_type = "ct6e-standard-4t", zones = ["us-central1-b"] } }
  }
  expect_failures = [var.node_pools]
}

run "pool_name_that_is_taken" {
  command = plan
  variables {
    node_pools = { system = { machine_type = "ct6e-standard-4t", zones = ["us-central1-b"] } }
  }
  expect_failures = [var.node_pools]
}

run "location" {
  command = plan
  variables {
    location = "us central1"
  }
  expect_failures = [var.location]
}

run "no_platform_label" {
  command = plan
  variables {
    labels = { team = "research" }
  }
  expect_failures = [google_container_cluster.this]
}
