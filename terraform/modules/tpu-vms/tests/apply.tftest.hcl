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

run "apply" {
  assert {
    condition     = google_tpu_v2_vm.this["desk"].id != "" && google_tpu_v2_queued_resource.this["rare"].id != ""
    error_message = "Both must be there."
  }
}

# What is taken out goes, and nothing else is touched.
run "remove" {
  variables {
    vms = {
      desk = {
        accelerator     = "v5litepod-1", node = "tpu-desk", queued_resource = null, runtime_version = "v2-alpha-tpuv5-lite",
        service_account = "tpu-worker@demo-project.iam.gserviceaccount.com", spot = true, zone = "us-central1-a",
      }
    }
  }

  assert {
    condition     = keys(output.ids) == ["desk"] && output.ids.desk == google_tpu_v2_vm.this["desk"].id
    error_message = "Only the node that is still asked for may be left."
  }
}
