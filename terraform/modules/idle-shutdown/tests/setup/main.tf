# The bucket that the archive goes into.
terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

resource "google_storage_bucket" "control" {
  project                     = "demo-project"
  name                        = "demo-project-idle-control"
  location                    = "us-central1"
  force_destroy               = true
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
}
