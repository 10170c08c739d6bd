provider "google" {
  project = var.project_id
}

provider "google-beta" {
  project = var.project_id
}

module "platform" {
  source         = "../.."
  project_id     = var.project_id
  region         = "us-central1"
  zones          = ["us-central1-b"] # where the launcher may make nodes of its own, beside the cluster
  launcher_users = var.launcher_users
  operators      = var.operators

  # Nodes of the cluster have no external address: NAT lets them fetch images and weights from the internet.
  network = { private = true }

  gke = {
    location    = "us-central1-b" # a zone: its management fee is covered by the billing account's credit
    delete_idle = var.delete_idle
    node_pools = {
      # One host is the slice.
      v6e-4 = {
        machine_type = "ct6e-standard-4t"
        max_nodes    = 2
        spot         = true
        zones        = ["us-central1-b"]
      }
      # Four hosts make one slice; Google takes them back after a day, whoever uses them.
      v6e-16 = {
        flex_start         = true
        machine_type       = "ct6e-standard-4t"
        max_run_duration_s = 86400
        topology           = "4x4"
        zones              = ["us-central1-b"]
      }
    }
  }
}
