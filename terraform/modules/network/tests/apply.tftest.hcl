variables {
  cidrs = {
    europe-west4 = "10.0.16.0/20"
    us-central1  = "10.0.0.0/20"
  }
  gke = {
    pods_cidr     = "10.4.0.0/14"
    region        = "us-central1"
    services_cidr = "10.8.0.0/20"
  }
  name       = "tpu"
  private    = true
  project_id = "demo-project"
}

run "apply" {
  assert {
    condition     = toset(keys(output.subnetworks)) == toset(keys(var.cidrs)) && alltrue([for id in values(output.subnetworks) : id != ""])
    error_message = "Each region's subnet must have an id."
  }
  assert {
    condition     = output.network.name == "tpu" && output.network.id != ""
    error_message = "The network must be known by id and name."
  }
  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : subnet.network == google_compute_network.this.id])
    error_message = "Every subnet must lie in the platform's network."
  }
}

run "public_again" {
  variables {
    gke     = null
    private = false
  }

  assert {
    condition     = length(google_compute_router_nat.this) == 0
    error_message = "NAT must go when it is no longer wanted."
  }
}
