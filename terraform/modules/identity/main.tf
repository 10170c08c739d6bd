locals {
  workers = length(var.teams) == 0 ? {
    worker = { id = "${var.name}-worker", users = var.launcher_users }
    } : {
    for team, spec in var.teams : team => { id = "${var.name}-w-${team}", users = spec.members }
  }
  people  = toset(concat(var.launcher_users, flatten([for team in var.teams : team.members])))
  role_id = replace(var.name, "-", "_") # a role's id has no dash

  act_as = merge([
    for key, worker in local.workers : { for user in toset(worker.users) : "${key}/${user}" => { worker = key, member = user } }
  ]...)

  member_pattern = "^(user|group|serviceAccount):[^@:[:space:]]+@[^@:[:space:]]+$"
}

# ------------------------------------------------------------------ accounts

resource "google_service_account" "worker" {
  for_each     = local.workers
  project      = var.project_id
  account_id   = each.value.id
  display_name = "${var.name}: TPU hosts and the jobs on them${length(var.teams) == 0 ? "" : " of ${each.key}"}"
}

resource "google_service_account" "idle_shutdown" {
  project      = var.project_id
  account_id   = "${var.name}-idle"
  display_name = "${var.name}: the idle-shutdown function"
}

resource "google_service_account" "budget_guard" {
  count        = var.budget ? 1 : 0
  project      = var.project_id
  account_id   = "${var.name}-guard"
  display_name = "${var.name}: the budget guard function"
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "${var.name}-scheduler"
  display_name = "${var.name}: Cloud Scheduler, which calls the idle-shutdown"
}

resource "google_service_account" "push" {
  count        = var.budget ? 1 : 0
  project      = var.project_id
  account_id   = "${var.name}-push"
  display_name = "${var.name}: Pub/Sub, which calls the budget guard"
}

resource "google_service_account" "gke_nodes" {
  count        = var.gke ? 1 : 0
  project      = var.project_id
  account_id   = "${var.name}-gke"
  display_name = "${var.name}: nodes of the GKE cluster"
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "${var.name}-build"
  display_name = "${var.name}: builds the functions"
}

# ------------------------------------------------------------------ custom roles
# Cloud TPU has no permissions of its own for queued resources: those of nodes count.

resource "google_project_iam_custom_role" "launcher" {
  project     = var.project_id
  role_id     = "${local.role_id}_launcher"
  title       = "${var.name}: launcher user"
  description = "Create, use and delete TPU nodes."
  permissions = [
    "serviceusage.quotas.get",   # launcher doctor: is there quota
    "serviceusage.services.get", # launcher doctor: which APIs are off
    "tpu.acceleratortypes.list",
    "tpu.nodes.create",
    "tpu.nodes.delete",
    "tpu.nodes.get",
    "tpu.nodes.list",
    "tpu.nodes.update", # the SSH key goes into the node's metadata
    "tpu.operations.get",
  ]
}

resource "google_project_iam_custom_role" "worker" {
  project     = var.project_id
  role_id     = "${local.role_id}_worker"
  title       = "${var.name}: worker"
  description = "Delete the own TPU node."
  permissions = ["tpu.nodes.delete", "tpu.nodes.get"]
}

resource "google_project_iam_custom_role" "reaper" {
  project     = var.project_id
  role_id     = "${local.role_id}_reaper"
  title       = "${var.name}: reaper"
  description = "Find and delete TPU nodes."
  permissions = ["tpu.nodes.delete", "tpu.nodes.get", "tpu.nodes.list"]
}

resource "google_project_iam_custom_role" "reaper_gke" {
  count       = var.gke ? 1 : 0
  project     = var.project_id
  role_id     = "${local.role_id}_reaper_gke"
  title       = "${var.name}: reaper of GKE"
  description = "See what runs in the cluster, scale node pools to zero, delete an idle cluster where that is opted in."
  permissions = concat(
    [
      "compute.instanceGroupManagers.get", # how many nodes a pool has
      "container.clusters.connect",        # the control plane's DNS endpoint
      "container.clusters.get",
      "container.clusters.update", # node pools have no permission of their own
      "container.pods.list",
    ],
    var.gke_delete_idle ? ["container.clusters.delete"] : [],
  )
}

# ------------------------------------------------------------------ workers

# why: logs of the host and of its jobs reach Cloud Logging.
resource "google_project_iam_member" "worker_logs" {
  for_each = google_service_account.worker
  project  = var.project_id
  role     = "roles/logging.logWriter"
  member   = each.value.member
}

# why: the TPU runtime's metrics, such as the duty cycle, reach Cloud Monitoring.
resource "google_project_iam_member" "worker_metrics" {
  for_each = google_service_account.worker
  project  = var.project_id
  role     = "roles/monitoring.metricWriter"
  member   = each.value.member
}

# why: a node deletes itself when its lease is dead and nobody else came. Cloud TPU has no grants below the project.
resource "google_project_iam_member" "worker" {
  for_each = google_service_account.worker
  project  = var.project_id
  role     = google_project_iam_custom_role.worker.id
  member   = each.value.member
}

# ------------------------------------------------------------------ idle-shutdown, budget guard, builds

# why: finds nodes that nobody uses and deletes them, every few minutes.
resource "google_project_iam_member" "idle_shutdown" {
  project = var.project_id
  role    = google_project_iam_custom_role.reaper.id
  member  = google_service_account.idle_shutdown.member
}

# why: looks which Pods use the cluster's TPU pools and scales stuck ones to zero.
resource "google_project_iam_member" "idle_shutdown_gke" {
  count   = var.gke ? 1 : 0
  project = var.project_id
  role    = google_project_iam_custom_role.reaper_gke[0].id
  member  = google_service_account.idle_shutdown.member
}

# why: deletes idle nodes when the budget is used up.
resource "google_project_iam_member" "budget_guard" {
  count   = var.budget ? 1 : 0
  project = var.project_id
  role    = google_project_iam_custom_role.reaper.id
  member  = google_service_account.budget_guard[0].member
}

# why: the log of a function's build is kept.
resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# why: a build pushes the function's image into gcf-artifacts, a repository that Cloud Functions makes with the first function.
resource "google_project_iam_member" "build_images" {
  project = var.project_id
  role    = "roles/artifactregistry.writer"
  member  = google_service_account.build.member
}

# why: Cloud Functions copies a function's archive into a bucket of its own, which is made with the first function and read by the build.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "function_sources_only"
    description = "The buckets that Cloud Functions makes for archives, no other."
    expression  = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }
}

# ------------------------------------------------------------------ people

# why: creates, reads, updates and deletes TPU nodes, and asks which APIs and quotas the project has.
resource "google_project_iam_member" "launcher" {
  for_each = local.people
  project  = var.project_id
  role     = google_project_iam_custom_role.launcher.id
  member   = each.value
}

# why: SSH to workers goes through Identity-Aware Proxy, as no port is open to the internet.
resource "google_project_iam_member" "iap" {
  for_each = local.people
  project  = var.project_id
  role     = "roles/iap.tunnelResourceAccessor"
  member   = each.value
}

# why: runs Pods on the cluster; what they may do inside it, Kubernetes' own rules say.
resource "google_project_iam_member" "launcher_gke" {
  for_each = var.gke ? local.people : toset([])
  project  = var.project_id
  role     = "roles/container.developer"
  member   = each.value
}

# why: puts nodes under this worker account; with teams, only under that of the own team.
resource "google_service_account_iam_member" "act_as" {
  for_each           = local.act_as
  service_account_id = google_service_account.worker[each.value.worker].name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value.member
}

# why: stops nodes by hand: launcher reap, launcher nodes down.
resource "google_project_iam_member" "operator" {
  for_each = toset(var.operators)
  project  = var.project_id
  role     = google_project_iam_custom_role.reaper.id
  member   = each.value
}

# why: reads what the functions did, as each alert asks for.
resource "google_project_iam_member" "operator_logs" {
  for_each = toset(var.operators)
  project  = var.project_id
  role     = "roles/logging.viewer"
  member   = each.value
}

# why: sees the dashboard and the alerts.
resource "google_project_iam_member" "operator_metrics" {
  for_each = toset(var.operators)
  project  = var.project_id
  role     = "roles/monitoring.viewer"
  member   = each.value
}
