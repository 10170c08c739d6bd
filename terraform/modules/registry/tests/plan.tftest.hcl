variables {
  location   = "us-central1"
  name       = "tpu"
  project_id = "demo-project"
  readers    = { worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  writers    = { build = "serviceAccount:tpu-build@demo-project.iam.gserviceaccount.com" }
}

run "images" {
  command = plan

  assert {
    condition     = output.images == "us-central1-docker.pkg.dev/demo-project/tpu"
    error_message = "Images are pushed to the platform's repository in its region."
  }
  assert {
    condition     = google_artifact_registry_repository.images.cleanup_policy_dry_run == false
    error_message = "Clean-up must delete, not only tell."
  }
  assert {
    condition = [
      for policy in google_artifact_registry_repository.images.cleanup_policies : policy.most_recent_versions[0].keep_count if policy.action == "KEEP"
    ] == [10]
    error_message = "The newest ten versions stay."
  }
  assert {
    condition = [
      for policy in google_artifact_registry_repository.images.cleanup_policies : "${policy.condition[0].tag_state} ${policy.condition[0].older_than}" if policy.action == "DELETE"
    ] == ["UNTAGGED 604800s"]
    error_message = "Untagged images go after a week."
  }
  assert {
    condition     = google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "DISABLED"
    error_message = "Scans are paid for each image and must not be on by themselves."
  }
}

run "python" {
  command = plan

  assert {
    condition     = output.python_index == "https://us-central1-python.pkg.dev/demo-project/tpu-python/simple/"
    error_message = "Installers need the simple index."
  }
  assert {
    condition = (
      google_artifact_registry_repository.python.mode == "REMOTE_REPOSITORY" &&
      google_artifact_registry_repository.python.remote_repository_config[0].python_repository[0].public_repository == "PYPI"
    )
    error_message = "The Python repository must fetch from the public index."
  }
}

run "access" {
  command = plan

  assert {
    condition = alltrue([
      for grant in concat(
        values(google_artifact_registry_repository_iam_member.images_reader),
        values(google_artifact_registry_repository_iam_member.python_reader),
      ) : grant.role == "roles/artifactregistry.reader" && grant.member == var.readers.worker
    ])
    error_message = "Readers read both repositories."
  }
  assert {
    condition     = [for grant in google_artifact_registry_repository_iam_member.images_writer : "${grant.role} ${grant.member}"] == ["roles/artifactregistry.writer ${var.writers.build}"]
    error_message = "Only who is listed pushes images."
  }
}

run "zone_for_a_location" {
  command = plan
  variables {
    location = "us-central1-a"
  }
  expect_failures = [var.location]
}

run "keep_nothing" {
  command = plan
  variables {
    keep_images = 0
  }
  expect_failures = [var.keep_images]
}

run "everybody_pulls" {
  command = plan
  variables {
    readers = { all = "allAuthenticatedUsers" }
  }
  expect_failures = [var.readers]
}

run "address_for_a_member" {
  command = plan
  variables {
    writers = { ada = "ada@example.com" }
  }
  expect_failures = [var.writers]
}

run "capital_letters" {
  command = plan
  variables {
    name = "TPU"
  }
  expect_failures = [var.name]
}
