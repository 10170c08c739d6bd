variables {
  launcher_users = ["user:ada@example.com"]
  project_id     = "demo-project"
}

run "cluster" {
  command = plan

  assert {
    condition     = output.launcher.gke.cluster == "tpu" && output.launcher.gke.location == "us-central1-b"
    error_message = "platform.json must name the cluster."
  }
  assert {
    condition     = output.launcher.gke.delete_idle == false
    error_message = "A cluster may be deleted only where somebody opted in."
  }
  assert {
    condition     = output.launcher.external_ip == false
    error_message = "Nodes must have no external address here."
  }
}

run "opted_in" {
  command = plan
  variables {
    delete_idle = true
  }

  assert {
    condition     = output.launcher.gke.delete_idle
    error_message = "platform.json must tell launcher reap what the function knows."
  }
}
