variables {
  name       = "tpu"
  project_id = "demo-project"
  workers = {
    speech = { member = "serviceAccount:tpu-w-speech@demo-project.iam.gserviceaccount.com" }
    vision = { member = "serviceAccount:tpu-w-vision@demo-project.iam.gserviceaccount.com" }
  }
}

run "off_by_default" {
  command = plan

  assert {
    condition     = length(google_secret_manager_secret.this) + length(google_secret_manager_secret_iam_member.reader) == 0
    error_message = "Nobody who did not ask for secrets may have one."
  }
}

run "who_reads_what" {
  command = plan
  variables {
    secrets = {
      shared = {}
      token  = { teams = ["vision"] }
    }
  }

  assert {
    condition     = { for key, secret in google_secret_manager_secret.this : key => secret.secret_id } == { shared = "tpu-shared", token = "tpu-token" }
    error_message = "A secret is named after the platform and its key."
  }
  assert {
    condition = toset([for grant in google_secret_manager_secret_iam_member.reader : "${grant.secret_id} ${grant.member}"]) == toset([
      "tpu-shared ${var.workers.speech.member}", "tpu-shared ${var.workers.vision.member}", "tpu-token ${var.workers.vision.member}",
    ])
    error_message = "A secret is for every worker account, or for the teams that it names."
  }
  assert {
    condition     = alltrue([for grant in google_secret_manager_secret_iam_member.reader : grant.role == "roles/secretmanager.secretAccessor"])
    error_message = "Workers read a secret's value and change nothing."
  }
}

run "unknown_team" {
  command = plan
  variables {
    secrets = { token = { teams = ["robots"] } }
  }
  # The grant of a team that is not there cannot be planned either.
  expect_failures = [var.secrets]
}

run "odd_name" {
  command = plan
  variables {
    secrets = { "my token" = {} }
  }
  expect_failures = [var.secrets]
}

run "capital_letters" {
  command = plan
  variables {
    name = "TPU"
  }
  expect_failures = [var.name]
}
