variables {
  project_id = "demo-project"
  region     = "us-central1"
  tpu_pools = {
    dev = { accelerator = "v5litepod-8", zones = ["us-central1-a"] }
  }
}

run "minimal" {
  command = plan

  assert {
    condition     = google_storage_bucket_object.platform.name == "platform.json" && google_storage_bucket_object.platform.content_type == "application/json"
    error_message = "The platform's file must be platform.json."
  }
  assert {
    condition     = length(module.tpu_vms.ids) + length(module.budget) + length(module.gke) + length(module.secrets.ids) == 0
    error_message = "Standing nodes, budget, GKE and secrets must be off unless they are asked for."
  }
  assert {
    condition     = keys(module.network.subnetworks) == ["us-central1"] && keys(module.identity.workers) == ["worker"]
    error_message = "There must be one subnet, in the platform's region, and one worker account."
  }
  assert {
    condition     = module.idle_shutdown.environment["ZONES"] == "us-central1-a" && module.idle_shutdown.environment["PLATFORM"] == "tpu"
    error_message = "The idle shutdown must look into every zone, for this platform's nodes."
  }
}

run "everything_on" {
  command = plan

  variables {
    alerts         = { emails = ["ops@example.com"], usd_per_hour = 50 }
    budget         = { amount = 500, billing_account = "012345-6789AB-CDEF01" }
    gke            = { location = "us-west4-a" }
    kms_key        = "projects/demo-project/locations/us-central1/keyRings/tpu/cryptoKeys/buckets"
    labels         = { cost-center = "ml" }
    launcher_users = ["group:ml@example.com"]
    network        = { cidrs = { us-west4 = "10.0.16.0/20" }, private = true }
    operators      = ["user:ada@example.com"]
    secrets        = { HF_TOKEN = { teams = ["vision"] } }
    teams          = { vision = { members = ["group:vision@example.com"] } }
    tpu_vms = {
      desk   = { accelerator = "v5litepod-1", team = "vision", zone = "us-west4-a" }
      queued = { accelerator = "v6e-1", queued = true, zone = "us-central1-b" }
    }
  }

  assert {
    condition     = length(module.budget) == 1 && length(module.gke) == 1 && keys(module.secrets.ids) == ["HF_TOKEN"]
    error_message = "What is asked for must be there."
  }
  assert {
    condition     = keys(module.identity.workers) == ["vision"]
    error_message = "With teams each must have an account of its own, and nobody a shared one."
  }
  assert {
    condition     = toset(keys(module.network.subnetworks)) == toset(["us-central1", "us-west4"])
    error_message = "Each region with nodes must have a subnet."
  }
  assert {
    condition     = [for node in local.launcher.nodes : "${node.zone}/${node.node}"] == ["us-west4-a/tpu-desk", "us-central1-b/tpu-queued-0"]
    error_message = "Standing nodes must be called after the platform."
  }
  assert {
    condition     = module.idle_shutdown.environment["ZONES"] == "us-central1-a,us-west4-a,us-central1-b"
    error_message = "The idle shutdown must look into the zones of pools and VMs alike."
  }
}

# ---- what is refused: each run has one mistake in each of its variables ----
# (Not in all at once: what refers to a variable that is wrong itself is not looked at.)

run "refuses_1" {
  command = plan

  variables {
    alerts         = { emails = ["ada"] }
    budget         = { amount = 0.5, billing_account = "012345-6789AB-CDEF01" }
    idle_shutdown  = { grace_s = 0 }
    labels         = { Team = "ML" }
    launcher_users = ["allUsers"]
    name           = "TPU"
    network        = { cidrs = { us-central1-a = "10.0.16.0/20" } }
    operators      = ["ada@example.com"]
    project_id     = "123456789012"
    registry       = { keep_images = 0 }
    storage        = { job_days = 0.5 }
  }

  expect_failures = [var.alerts, var.budget, var.idle_shutdown, var.labels, var.launcher_users, var.name, var.network, var.operators, var.project_id, var.registry, var.storage]
}

run "refuses_2" {
  command = plan

  variables {
    alerts         = { emails = [for n in range(6) : "ada${n}@example.com"] }
    budget         = { amount = 100, billing_account = "billingAccounts/1" }
    gke            = { location = "Iowa" }
    idle_shutdown  = { keep_warm_s = -1 }
    kms_key        = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
    labels         = { launcher-owner = "ada" }
    launcher_users = ["domain:example.com"]
    operators      = ["allAuthenticatedUsers"]
    project_id     = "Demo Project"
    secrets        = { "hf token" = {} }
  }

  expect_failures = [var.alerts, var.budget, var.gke, var.idle_shutdown, var.kms_key, var.labels, var.launcher_users, var.operators, var.project_id, var.secrets]
}

run "refuses_3" {
  command = plan

  variables {
    alerts        = { usd_per_hour = 0 }
    budget        = { amount = 100, billing_account = "012345-6789AB-CDEF01", currency = "dollars" }
    idle_shutdown = { max_lifetime_s = 0, keep_warm_s = 0 }
    labels        = { goog-x = "y" }
    name          = "google-tpus"
    region        = "us-central1-a"
    storage       = { location = "us-central1-a" }
  }

  expect_failures = [var.alerts, var.budget, var.idle_shutdown, var.labels, var.name, var.region, var.storage]
}

run "refuses_4" {
  command = plan

  variables {
    budget        = { amount = 100, billing_account = "012345-6789AB-CDEF01", thresholds = [] }
    gke           = { location = "us-west4-a" }
    idle_shutdown = { keep_warm_s = 7200, max_lifetime_s = 3600 }
    kms_key       = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    teams         = { Vision = { members = ["group:vision@example.com"] } }
  }

  expect_failures = [var.budget, var.gke, var.idle_shutdown, var.kms_key, var.teams]
}

run "refuses_5" {
  command = plan

  variables {
    budget        = { amount = 100, billing_account = "012345-6789AB-CDEF01", thresholds = [50, 100] }
    gke           = { idle_s = 0, location = "us-central1-a" }
    idle_shutdown = { schedule = "0 3 * * *" }
    teams         = { a-team-with-a-very-long-name = { members = ["group:vision@example.com"] } }
  }

  expect_failures = [var.budget, var.gke, var.idle_shutdown, var.teams]
}

run "refuses_6" {
  command = plan

  variables {
    budget        = { amount = 100, billing_account = "012345-6789AB-CDEF01", thresholds = [0.5] }
    idle_shutdown = { drain_s = 1.5 }
    teams         = { vision = { members = [] } }
  }

  expect_failures = [var.budget, var.idle_shutdown, var.teams]
}

run "refuses_7" {
  command = plan

  variables {
    teams = { vision = { members = ["allAuthenticatedUsers"] } }
  }

  expect_failures = [var.teams]
}

run "refuses_8" {
  command = plan

  variables {
    secrets   = { HF_TOKEN = { teams = ["vision"] } }
    tpu_pools = {}
    zones     = []
  }

  expect_failures = [var.secrets, var.zones]
}
