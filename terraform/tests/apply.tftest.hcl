variables {
  project_id     = "demo-project"
  region         = "us-central1"
  launcher_users = ["user:ada@example.com"]
  operators      = ["user:grace@example.com"]
  tpu_pools = {
    dev = { accelerator = "v5litepod-8", zones = ["us-central1-a"] }
  }
  tpu_vms = {
    desk   = { accelerator = "v5litepod-1", zone = "us-central1-a" }
    queued = { accelerator = "v5litepod-4", queued = true, zone = "us-central1-a" }
  }
}

run "apply" {
  assert {
    condition     = google_storage_bucket_object.platform.content == jsonencode(output.launcher)
    error_message = "The output must be the very content of platform.json."
  }
  assert {
    condition     = google_storage_bucket_object.platform.bucket == output.launcher.control_bucket && output.launcher.control_bucket != output.launcher.bucket
    error_message = "platform.json must lie where jobs cannot write."
  }
  assert {
    condition = keys(output.launcher) == [
      "bucket", "connect", "control_bucket", "external_ip", "gke", "idle_shutdown", "images", "internet", "network", "nodes", "platform",
      "pools", "project", "python_index", "region", "schema", "service_account", "service_accounts", "subnetwork", "zones",
    ]
    error_message = "platform.json must have every field of its schema."
  }
  assert {
    condition     = output.launcher.images == "us-central1-docker.pkg.dev/demo-project/tpu" && output.launcher.python_index == "https://us-central1-python.pkg.dev/demo-project/tpu-python/simple/"
    error_message = "The registry's addresses must be complete."
  }
  assert {
    condition     = output.launcher.internet && output.launcher.external_ip
    error_message = "Nodes must have a way out unless it is taken away."
  }
  assert {
    condition     = output.launcher.service_account == module.identity.workers["worker"].email && output.launcher.service_accounts == {}
    error_message = "Without teams everybody must use one worker account."
  }
}

# The file follows what is asked for.
run "change" {
  variables {
    idle_shutdown = { keep_warm_s = 60 }
    network       = { private = true, nat = false }
    tpu_vms       = {}
  }

  assert {
    condition     = length(output.launcher.nodes) == 0 && output.launcher.pools.dev.keep_warm_s == 60
    error_message = "What is taken out must be out of platform.json as well."
  }
  assert {
    condition     = google_storage_bucket_object.platform.content == jsonencode(output.launcher)
    error_message = "The output must be the very content of platform.json."
  }
  assert {
    condition     = !output.launcher.internet && !output.launcher.external_ip
    error_message = "The launcher must know that nodes have no way out."
  }
}
