resource "google_artifact_registry_repository" "images" {
  project                = var.project_id
  location               = var.location
  repository_id          = var.name
  description            = "Images of the platform ${var.name}."
  format                 = "DOCKER"
  labels                 = var.labels
  cleanup_policy_dry_run = false

  # KEEP wins over DELETE, so the newest ones stay whatever their age.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.keep_images
    }
  }
  cleanup_policies {
    id     = "drop-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "604800s" # 7 days
    }
  }

  # $0.26 for each image that is pushed.
  vulnerability_scanning_config {
    enablement_config = "DISABLED"
  }
}

resource "google_artifact_registry_repository" "python" {
  project                = var.project_id
  location               = var.location
  repository_id          = "${var.name}-python"
  description            = "The public Python index, for nodes without internet."
  format                 = "PYTHON"
  mode                   = "REMOTE_REPOSITORY"
  labels                 = var.labels
  cleanup_policy_dry_run = false

  remote_repository_config {
    python_repository {
      public_repository = "PYPI"
    }
  }

  # Copies only: what is asked for again is fetched again.
  cleanup_policies {
    id     = "drop-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "2592000s" # 30 days
    }
  }
}

# why: pulls the platform's images, at the start of a job or a function.
resource "google_artifact_registry_repository_iam_member" "images_reader" {
  for_each   = var.readers
  project    = var.project_id
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

# why: pushes images into the platform's Docker repository, and nowhere else.
resource "google_artifact_registry_repository_iam_member" "images_writer" {
  for_each   = var.writers
  project    = var.project_id
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

# why: installs Python packages where there is no way to the public index.
resource "google_artifact_registry_repository_iam_member" "python_reader" {
  for_each   = var.readers
  project    = var.project_id
  location   = google_artifact_registry_repository.python.location
  repository = google_artifact_registry_repository.python.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}
