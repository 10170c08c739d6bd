provider "google" {
  project = var.project_id
  # The Budgets API wants to know whose quota a person's credentials use.
  billing_project       = var.project_id
  user_project_override = true
}

provider "google-beta" {
  project = var.project_id
}

module "platform" {
  source     = "../.."
  project_id = var.project_id
  region     = "us-central1"
  operators  = ["group:ml-platform@${var.domain}"]

  # Each team's jobs run as an account of its own, which the other one cannot use.
  teams = {
    speech = { members = ["group:speech@${var.domain}"] }
    vision = { members = ["group:vision@${var.domain}", "user:intern@${var.domain}"] }
  }

  # A subnet for each region with pools.
  network = {
    cidrs = {
      us-east5 = "10.0.16.0/20"
      us-west4 = "10.0.32.0/20"
    }
  }

  tpu_pools = {
    # Asked in this order; nodes stay warm for anybody's next call.
    dev = {
      accelerator = "v5litepod-8"
      keep_warm_s = 1800
      max_nodes   = 4
      shared      = true
      zones       = ["us-central1-a", "us-west4-a"]
    }
    # Large, cheap and gone at once: 16 chips of spot hardware below $20 an hour.
    sweep = {
      accelerator      = "v6e-16"
      keep_warm_s      = 0
      max_lifetime_s   = 43200
      max_nodes        = 2
      max_usd_per_hour = 20
      spot             = true
      zones            = ["us-central1-b", "us-east5-a"]
    }
  }

  secrets = {
    HF_TOKEN  = {}
    WANDB_KEY = { teams = ["vision"] }
  }

  alerts = {
    emails       = ["ml-platform@${var.domain}"]
    usd_per_hour = 100
  }

  budget = var.billing_account == null ? null : {
    amount          = 5000
    billing_account = var.billing_account
  }
}
