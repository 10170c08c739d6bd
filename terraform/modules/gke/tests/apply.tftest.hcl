variables {
  labels          = { launcher-platform = "tpu", team = "research" }
  location        = "us-central1-a"
  name            = "tpu"
  network         = "projects/demo-project/global/networks/tpu"
  project_id      = "demo-project"
  service_account = { email = "tpu-worker@demo-project.iam.gserviceaccount.com", member = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  subnetwork      = "projects/demo-project/regions/us-central1/subnetworks/tpu"
}

run "apply" {
  variables {
    node_pools = {
      one   = { machine_type = "ct6e-standard-4t", spot = true, zones = ["us-central1-b"] }
      slice = { machine_type = "ct6e-standard-4t", topology = "2x4", zones = ["us-central1-b"] }
    }
  }

  assert {
    condition     = output.cluster.name == "tpu" && output.cluster.location == "us-central1-a"
    error_message = "The output must say where the cluster is."
  }
  assert {
    condition     = keys(output.cluster.node_pools) == ["one", "slice"]
    error_message = "The output must list the TPU pools."
  }
}
