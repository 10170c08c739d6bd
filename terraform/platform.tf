# What platform.json says, and what it is made of.

locals {
  labels     = merge(var.labels, { launcher-platform = var.name })
  cidrs      = merge({ (var.region) = "10.0.0.0/20" }, var.network.cidrs)
  gke_region = var.gke == null ? null : regex("^[a-z]+(?:-[a-z]+)+[0-9]+", var.gke.location)

  region_pattern = "^[a-z]+(-[a-z]+)+[0-9]+$"
  # Members such as allUsers and domain: are refused: nobody could list who they are.
  member_pattern = "^(user|group|serviceAccount):[^@:[:space:]]+@[^@:[:space:]]+$"

  launcher = {
    schema           = 1
    platform         = var.name
    project          = var.project_id
    region           = var.region
    zones            = module.catalog.asked.zones
    bucket           = module.storage.jobs_bucket
    control_bucket   = module.storage.control_bucket
    connect          = "iap" # no port is open to the internet
    external_ip      = !var.network.private
    internet         = !var.network.private || var.network.nat # without it, calls install from python_index
    network          = module.network.network.name
    subnetwork       = module.network.subnetwork_name
    service_account  = length(var.teams) == 0 ? module.identity.workers["worker"].email : null
    service_accounts = { for team in keys(var.teams) : team => module.identity.workers[team].email }
    images           = module.registry.images
    python_index     = module.registry.python_index
    idle_shutdown = {
      drain_s        = var.idle_shutdown.drain_s
      grace_s        = var.idle_shutdown.grace_s
      keep_warm_s    = var.idle_shutdown.keep_warm_s
      max_lifetime_s = var.idle_shutdown.max_lifetime_s
    }
    pools = module.catalog.asked.pools
    # Made of what was asked for, not of what is there: a node that the idle shutdown took stays registered, and a new one
    # is registered before it can be idle.
    nodes = [for vm in module.catalog.asked.vms : {
      node            = vm.node
      queued_resource = vm.queued_resource
      zone            = vm.zone
      accelerator     = vm.accelerator
      spot            = vm.spot
      runtime_version = vm.runtime_version
      keep_warm_s     = vm.keep_warm_s
      max_lifetime_s  = vm.max_lifetime_s
    }]
    gke = var.gke == null ? null : {
      cluster      = module.gke[0].cluster.name
      location     = module.gke[0].cluster.location
      delete_idle  = var.gke.delete_idle
      idle_s       = var.gke.idle_s
      dns_endpoint = module.gke[0].cluster.dns_endpoint
    }
  }
}

# How to use the platform: `launcher init --bucket` reads it, the functions know registered nodes by it.
resource "google_storage_bucket_object" "platform" {
  bucket       = module.storage.control_bucket
  name         = "platform.json"
  content      = jsonencode(local.launcher)
  content_type = "application/json"
}
