output "budget_guard" {
  description = "The budget guard's account: email, member and name; null without a budget."
  value       = one([for account in google_service_account.budget_guard : { email = account.email, member = account.member, name = account.name }])

  depends_on = [google_project_iam_member.budget_guard]
}

output "build" {
  description = "The account that builds the functions: email, member and name."
  value       = { email = google_service_account.build.email, member = google_service_account.build.member, name = google_service_account.build.name }

  depends_on = [
    google_project_iam_member.build_images,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_source,
  ]
}

output "gke_nodes" {
  description = "The account of the GKE cluster's nodes: email, member and name; null without a cluster. The gke module grants its roles."
  value       = one([for account in google_service_account.gke_nodes : { email = account.email, member = account.member, name = account.name }])
}

output "idle_shutdown" {
  description = "The idle-shutdown's account: email, member and name."
  value       = { email = google_service_account.idle_shutdown.email, member = google_service_account.idle_shutdown.member, name = google_service_account.idle_shutdown.name }

  depends_on = [google_project_iam_member.idle_shutdown, google_project_iam_member.idle_shutdown_gke]
}

output "launcher_role" {
  description = "Full id of the custom role of launcher users."
  value       = google_project_iam_custom_role.launcher.id
}

output "push" {
  description = "The account by which Pub/Sub calls the budget guard: email, member and name; null without a budget."
  value       = one([for account in google_service_account.push : { email = account.email, member = account.member, name = account.name }])
}

output "scheduler" {
  description = "The account by which Cloud Scheduler calls the idle-shutdown: email, member and name."
  value       = { email = google_service_account.scheduler.email, member = google_service_account.scheduler.member, name = google_service_account.scheduler.name }
}

output "workers" {
  description = "Worker accounts by team, or one called worker: email, member and name."
  value       = { for key, account in google_service_account.worker : key => { email = account.email, member = account.member, name = account.name } }

  depends_on = [
    google_project_iam_member.worker,
    google_project_iam_member.worker_logs,
    google_project_iam_member.worker_metrics,
  ]
}
