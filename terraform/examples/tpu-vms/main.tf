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
  launcher_users = var.launcher_users

  # Standing nodes: there after the apply, until nobody has used them for half an hour.
  tpu_vms = {
    desk = {
      accelerator = "v5litepod-1"
      keep_warm_s = 1800
      zone        = "us-central1-a"
    }
    rare = {
      accelerator = "v5litepod-4"
      keep_warm_s = 1800
      queued      = true # waits in Google's queue until there is hardware
      zone        = "us-central1-a"
    }
  }

  # And what the launcher makes itself.
  tpu_pools = {
    dev = {
      accelerator = "v5litepod-8"
      max_nodes   = 2
      spot        = true
      zones       = ["us-central1-a"]
    }
  }
}
