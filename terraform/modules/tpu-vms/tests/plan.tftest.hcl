variables {
  external_ip = true
  labels      = { cost-center = "ml" }
  name        = "tpu"
  network     = "projects/demo-project/global/networks/tpu"
  project_id  = "demo-project"
  subnetworks = { us-central1 = "projects/demo-project/regions/us-central1/subnetworks/tpu" }
  vms = {
    desk = {
      accelerator     = "v5litepod-1", node = "tpu-desk", queued_resource = null, runtime_version = "v2-alpha-tpuv5-lite",
      service_account = "tpu-worker@demo-project.iam.gserviceaccount.com", spot = true, zone = "us-central1-a",
    }
    rare = {
      accelerator     = "v5litepod-4", node = "tpu-rare-0", queued_resource = "tpu-rare", runtime_version = "v2-alpha-tpuv5-lite",
      service_account = null, spot = false, zone = "us-central1-a",
    }
  }
}

run "nodes" {
  command = plan

  assert {
    condition     = keys(google_tpu_v2_vm.this) == ["desk"] && keys(google_tpu_v2_queued_resource.this) == ["rare"]
    error_message = "Only what is queued may be a queued resource."
  }
  assert {
    condition     = google_tpu_v2_vm.this["desk"].labels == tomap({ cost-center = "ml", launcher-platform = "tpu" })
    error_message = "A node must carry the label by which the idle shutdown knows it."
  }
  assert {
    condition     = google_tpu_v2_vm.this["desk"].metadata == tomap({ enable-guest-attributes = "TRUE" })
    error_message = "A node must be able to tell its SSH host keys."
  }
  assert {
    condition     = google_tpu_v2_vm.this["desk"].scheduling_config[0].spot
    error_message = "A spot VM must be spot."
  }
  assert {
    condition = (
      google_tpu_v2_vm.this["desk"].service_account[0].email == "tpu-worker@demo-project.iam.gserviceaccount.com" &&
      tolist(google_tpu_v2_vm.this["desk"].service_account[0].scope) == tolist(["https://www.googleapis.com/auth/cloud-platform"])
    )
    error_message = "A node must run as the worker account, whose roles say what it may do."
  }
  assert {
    condition = alltrue([
      for network in [google_tpu_v2_vm.this["desk"].network_config[0], google_tpu_v2_queued_resource.this["rare"].tpu[0].node_spec[0].node[0].network_config[0]] :
      network.enable_external_ips && network.network == var.network && network.subnetwork == var.subnetworks["us-central1"]
    ])
    error_message = "Every node must be in the platform's network."
  }
  assert {
    condition     = google_tpu_v2_queued_resource.this["rare"].name == "tpu-rare" && google_tpu_v2_queued_resource.this["rare"].tpu[0].node_spec[0].node_id == "tpu-rare-0"
    error_message = "A queued resource and its node must be called after the platform."
  }
}

run "private" {
  command = plan

  variables {
    external_ip = false
  }

  assert {
    condition     = !google_tpu_v2_vm.this["desk"].network_config[0].enable_external_ips && !google_tpu_v2_queued_resource.this["rare"].tpu[0].node_spec[0].node[0].network_config[0].enable_external_ips
    error_message = "A private node must have no external address."
  }
}

run "on_demand" {
  command = plan

  variables {
    vms = {
      desk = {
        accelerator     = "v5litepod-1", node = "tpu-desk", queued_resource = null, runtime_version = "v2-alpha-tpuv5-lite",
        service_account = "tpu-worker@demo-project.iam.gserviceaccount.com", spot = false, zone = "us-central1-a",
      }
    }
  }

  assert {
    condition     = length(google_tpu_v2_vm.this["desk"].scheduling_config) == 0
    error_message = "The API does not give back a block that says nothing, and the next apply would replace the node."
  }
}

run "none" {
  command = plan

  variables {
    vms = {}
  }

  assert {
    condition     = length(output.ids) == 0
    error_message = "No standing nodes is the usual case."
  }
}

run "refuses_queued_and_spot" {
  command = plan

  variables {
    vms = {
      rare = {
        accelerator     = "v5litepod-4", node = "tpu-rare-0", queued_resource = "tpu-rare", runtime_version = "v2-alpha-tpuv5-lite",
        service_account = null, spot = true, zone = "us-central1-a",
      }
    }
  }

  expect_failures = [var.vms]
}

run "refuses_queued_with_an_account" {
  command = plan

  variables {
    vms = {
      rare = {
        accelerator     = "v5litepod-4", node = "tpu-rare-0", queued_resource = "tpu-rare", runtime_version = "v2-alpha-tpuv5-lite",
        service_account = "tpu-worker@demo-project.iam.gserviceaccount.com", spot = false, zone = "us-central1-a",
      }
    }
  }

  expect_failures = [var.vms]
}

run "refuses_a_region_without_subnet" {
  command = plan

  variables {
    vms = {
      desk = {
        accelerator     = "v5litepod-1", node = "tpu-desk", queued_resource = null, runtime_version = "v2-alpha-tpuv5-lite",
        service_account = "tpu-worker@demo-project.iam.gserviceaccount.com", spot = false, zone = "us-west4-a",
      }
    }
  }

  expect_failures = [var.vms]
}
