provider "google" {
  project = var.project_id
}

provider "google-beta" {
  project = var.project_id
}

module "platform" {
  source         = "../.."
  project_id     = var.project_id
  region         = var.region
  launcher_users = var.launcher_users

  tpu_pools = {
    dev = {
      accelerator = "v5litepod-1"
      zones       = ["us-central1-a"]
    }
  }
}
