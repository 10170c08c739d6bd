# Everything waits for the APIs, by depends_on or by what it takes from a module that does. Only the idle shutdown may not
# have it: its archive is a data source, which Terraform would then read as late as the apply.

module "catalog" {
  source    = "./modules/catalog"
  name      = var.name
  regions   = keys(local.cidrs)
  teams     = keys(var.teams)
  times     = { keep_warm_s = var.idle_shutdown.keep_warm_s, max_lifetime_s = var.idle_shutdown.max_lifetime_s }
  tpu_pools = var.tpu_pools
  tpu_vms   = var.tpu_vms
  zones     = var.zones
}

module "services" {
  source     = "./modules/services"
  project_id = var.project_id
  budget     = var.budget != null
  gke        = var.gke != null
  secrets    = length(var.secrets) > 0
}

module "network" {
  source     = "./modules/network"
  project_id = var.project_id
  name       = var.name
  cidrs      = local.cidrs
  private    = var.network.private
  nat        = var.network.nat
  gke = var.gke == null ? null : {
    pods_cidr     = var.gke.pods_cidr
    region        = local.gke_region
    services_cidr = var.gke.services_cidr
  }

  depends_on = [module.services]
}

module "identity" {
  source          = "./modules/identity"
  project_id      = var.project_id
  name            = var.name
  budget          = var.budget != null
  gke             = var.gke != null
  gke_delete_idle = var.gke == null ? false : var.gke.delete_idle
  launcher_users  = var.launcher_users
  operators       = var.operators
  teams           = var.teams

  depends_on = [module.services]
}

locals {
  # Keys are known before the accounts are, so that a plan can tell how many grants there will be.
  users     = { for user in distinct(concat(var.launcher_users, flatten([for team in var.teams : team.members]))) : user => user }
  operators = { for operator in var.operators : "operator/${operator}" => operator }
  workers   = { for key, worker in module.identity.workers : "worker/${key}" => worker.member }
  functions = merge(
    { idle-shutdown = module.identity.idle_shutdown.member },
    var.budget == null ? {} : { budget-guard = module.identity.budget_guard.member },
  )
  # The only account that a queued resource's hosts can have.
  queued_hosts = anytrue([for vm in var.tpu_vms : vm.queued]) ? {
    queued-hosts = "serviceAccount:${module.services.project_number}-compute@developer.gserviceaccount.com"
  } : {}
}

module "storage" {
  source        = "./modules/storage"
  project_id    = var.project_id
  name          = var.name
  labels        = local.labels
  location      = coalesce(var.storage.location, var.region)
  kms_key       = var.kms_key
  force_destroy = var.storage.force_destroy
  job_days      = var.storage.job_days
  # Not local.functions, which has the same: with it, checkov 3.3.30 leaves gke's TPU pools out.
  control_readers = merge(
    local.users,
    { idle-shutdown = module.identity.idle_shutdown.member },
    var.budget == null ? {} : { budget-guard = module.identity.budget_guard.member },
  )
  control_records = merge(
    var.budget == null ? {} : { budget-guard = { member = module.identity.budget_guard.member, object = "freeze.json" } },
    var.gke == null ? {} : { idle-shutdown = { member = module.identity.idle_shutdown.member, object = "clusters.json" } },
  )
  control_writers = local.operators
  jobs_users      = merge(local.users, local.operators, local.workers, local.functions, local.queued_hosts)

  depends_on = [module.services]
}

module "secrets" {
  source     = "./modules/secrets"
  project_id = var.project_id
  name       = var.name
  labels     = local.labels
  secrets    = var.secrets
  workers    = module.identity.workers

  depends_on = [module.services]
}

module "registry" {
  source      = "./modules/registry"
  project_id  = var.project_id
  name        = var.name
  labels      = local.labels
  location    = var.region
  keep_images = var.registry.keep_images
  readers     = merge(local.workers, local.queued_hosts, var.gke == null ? {} : { gke-nodes = module.identity.gke_nodes.member })
  # With teams, one team's user could else replace an image that another team's jobs run.
  writers = merge(local.operators, length(var.teams) == 0 ? { for user in var.launcher_users : user => user } : {})

  depends_on = [module.services]
}

module "idle_shutdown" {
  source         = "./modules/idle-shutdown"
  project_id     = var.project_id
  name           = var.name
  labels         = local.labels
  region         = var.region
  zones          = module.catalog.asked.zones
  jobs_bucket    = module.storage.jobs_bucket
  control_bucket = module.storage.control_bucket
  settings       = var.idle_shutdown
  accounts = {
    build         = module.identity.build
    idle_shutdown = module.identity.idle_shutdown
    scheduler     = module.identity.scheduler
  }
  gke = var.gke == null ? null : {
    cluster     = var.name
    delete_idle = var.gke.delete_idle
    idle_s      = var.gke.idle_s
    location    = var.gke.location
  }
}

module "budget" {
  source         = "./modules/budget"
  count          = var.budget == null ? 0 : 1
  project_id     = var.project_id
  project_number = module.services.project_number
  name           = var.name
  labels         = local.labels
  region         = var.region
  budget         = var.budget
  archive        = module.idle_shutdown.source
  environment    = module.idle_shutdown.environment
  channels       = module.alerts.channels
  accounts = {
    budget_guard = module.identity.budget_guard
    build        = module.identity.build
    push         = module.identity.push
  }

  depends_on = [module.services]
}

module "alerts" {
  source                 = "./modules/alerts"
  project_id             = var.project_id
  name                   = var.name
  labels                 = local.labels
  emails                 = var.alerts.emails
  enabled                = var.alerts.enabled
  usd_per_hour           = var.alerts.usd_per_hour
  idle_shutdown_function = module.idle_shutdown.function.name
  budget_guard_function  = one(module.budget[*].function)

  depends_on = [module.services]
}

# No node is there, and paid for, before what ends it when it is idle: the function, and for nodes without a label the
# file that registers them. And at a destroy that stops at a queued resource, both stay until the node is gone.

module "tpu_vms" {
  source      = "./modules/tpu-vms"
  project_id  = var.project_id
  name        = var.name
  labels      = local.labels
  network     = module.network.network.id
  subnetworks = module.network.subnetworks
  external_ip = !var.network.private
  vms = {
    for key, vm in module.catalog.asked.vms : key => merge(vm, {
      service_account = vm.queued ? null : module.identity.workers[coalesce(vm.team, "worker")].email
    })
  }

  depends_on = [module.idle_shutdown, google_storage_bucket_object.platform]
}

module "gke" {
  source          = "./modules/gke"
  count           = var.gke == null ? 0 : 1
  project_id      = var.project_id
  name            = var.name
  labels          = local.labels
  location        = var.gke.location
  network         = module.network.network.id
  node_pools      = var.gke.node_pools
  service_account = module.identity.gke_nodes
  subnetwork      = module.network.subnetworks[local.gke_region]

  depends_on = [module.idle_shutdown]
}
