variables {
  control_readers = { ada = "user:ada@example.com", worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  control_records = { guard = { member = "serviceAccount:tpu-guard@demo-project.iam.gserviceaccount.com", object = "freeze.json" } }
  control_writers = { operator = "user:op@example.com" }
  jobs_users      = { ada = "user:ada@example.com", worker = "serviceAccount:tpu-worker@demo-project.iam.gserviceaccount.com" }
  labels          = { launcher-platform = "tpu" }
  location        = "us-central1"
  name            = "tpu"
  project_id      = "demo-project"
}

run "both_buckets" {
  command = plan

  assert {
    condition     = output.control_bucket == "demo-project-tpu-control" && output.jobs_bucket == "demo-project-tpu-jobs"
    error_message = "Buckets are named after the project and the platform."
  }
  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.control, google_storage_bucket.jobs] :
      bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced"
    ])
    error_message = "Nothing in a bucket may be public, nor have access rules of its own."
  }
  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.control, google_storage_bucket.jobs] :
      bucket.soft_delete_policy[0].retention_duration_seconds == 0
    ])
    error_message = "Deleted objects must not be paid for."
  }
  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.control, google_storage_bucket.jobs] :
      bucket.labels["launcher-platform"] == "tpu" && length(bucket.encryption) == 0
    ])
    error_message = "Buckets carry the labels, and Google's keys unless another one is given."
  }
}

run "jobs_bucket" {
  command = plan
  variables {
    job_days = 7
  }

  assert {
    condition     = google_storage_bucket.jobs.versioning[0].enabled == false
    error_message = "Old copies of leases must not be kept."
  }
  assert {
    condition     = google_storage_bucket.jobs.force_destroy == false
    error_message = "A destroy must not delete people's results unless that was asked for."
  }
  assert {
    condition = {
      for rule in google_storage_bucket.jobs.lifecycle_rule : join(",", one(rule.condition).matches_prefix) => one(rule.condition).age
      if one(rule.action).type == "Delete"
    } == { "leases/" = 30, "owners/" = 7 }
    error_message = "The prefixes of the launcher's layout must each have an age."
  }
  assert {
    condition     = [for rule in google_storage_bucket.jobs.lifecycle_rule : one(rule.condition).age if one(rule.action).type == "AbortIncompleteMultipartUpload"] == [1]
    error_message = "Uploads that nobody ends must go."
  }
}

run "control_bucket" {
  command = plan

  assert {
    condition     = google_storage_bucket.control.versioning[0].enabled
    error_message = "An overwritten platform.json must not be lost."
  }
  assert {
    condition     = google_storage_bucket.control.force_destroy
    error_message = "One destroy must take the control bucket away, whatever the guard wrote into it."
  }
  assert {
    condition     = [for rule in google_storage_bucket.control.lifecycle_rule : one(rule.condition).with_state] == ["ARCHIVED"]
    error_message = "What is in force in the control bucket has no age."
  }
}

run "access" {
  command = plan

  assert {
    condition     = { for key, grant in google_storage_bucket_iam_member.control_writer : grant.member => grant.role } == { (var.control_writers.operator) = "roles/storage.objectUser" }
    error_message = "Only who is listed may write the control bucket."
  }
  assert {
    condition     = google_storage_bucket_iam_member.control_record["guard"].condition[0].expression == "resource.name == \"projects/_/buckets/demo-project-tpu-control/objects/freeze.json\""
    error_message = "The guard may write more of the control bucket than freeze.json."
  }
  assert {
    condition     = alltrue([for grant in google_storage_bucket_iam_member.control_reader : grant.role == "roles/storage.objectViewer"])
    error_message = "Readers of the control bucket must not write it."
  }
  assert {
    condition     = alltrue([for key, grant in google_storage_bucket_iam_member.jobs_user : grant.member == var.jobs_users[key] && grant.role == "roles/storage.objectUser"])
    error_message = "Launchers and workers read and write the jobs bucket, and cannot change its rules."
  }
}

run "own_key" {
  command = plan
  variables {
    kms_key = "projects/demo-project/locations/us-central1/keyRings/ring/cryptoKeys/key"
  }

  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.control, google_storage_bucket.jobs] : bucket.encryption[0].default_kms_key_name == var.kms_key
    ])
    error_message = "Both buckets must be encrypted by the given key."
  }
}

run "key_of_another_location" {
  command = plan
  variables {
    kms_key = "projects/demo-project/locations/europe-west4/keyRings/ring/cryptoKeys/key"
  }
  expect_failures = [var.kms_key]
}

run "key_version" {
  command = plan
  variables {
    kms_key = "projects/demo-project/locations/us-central1/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/1"
  }
  expect_failures = [var.kms_key]
}

run "long_bucket_name" {
  command = plan
  variables {
    project_id = "a-project-id-that-is-much-longer-than-any-project-id-may-be"
  }
  expect_failures = [google_storage_bucket.control, google_storage_bucket.jobs]
}

run "project_of_a_domain" {
  command = plan
  variables {
    project_id = "example.com:demo"
  }
  expect_failures = [google_storage_bucket.control, google_storage_bucket.jobs]
}

run "googles_name" {
  command = plan
  variables {
    name = "google-tpu"
  }
  expect_failures = [google_storage_bucket.control, google_storage_bucket.jobs]
}

run "capital_letters" {
  command = plan
  variables {
    name = "TPU"
  }
  expect_failures = [var.name]
}

run "zone_for_a_location" {
  command = plan
  variables {
    location = "us-central1-a"
  }
  expect_failures = [var.location]
}

run "no_days" {
  command = plan
  variables {
    job_days = 0
  }
  expect_failures = [var.job_days]
}

run "everybody_reads" {
  command = plan
  variables {
    control_readers = { all = "allUsers" }
  }
  expect_failures = [var.control_readers]
}

run "everybody_writes" {
  command = plan
  variables {
    control_writers = { domain = "domain:example.com" }
  }
  expect_failures = [var.control_writers]
}

run "a_function_writes_every_record" {
  command = plan
  variables {
    control_records = { guard = { member = "serviceAccount:tpu-guard@demo-project.iam.gserviceaccount.com", object = "*" } }
  }
  expect_failures = [var.control_records]
}

run "address_for_a_member" {
  command = plan
  variables {
    jobs_users = { ada = "ada@example.com" }
  }
  expect_failures = [var.jobs_users]
}
