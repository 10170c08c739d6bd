variables {
  project_id = "demo-project"
}

run "apply" {
  assert {
    condition     = output.launcher.bucket != output.launcher.control_bucket && output.launcher.control_bucket == "demo-project-tpu-control"
    error_message = "Jobs must not be able to write what says how much may be spent."
  }
  assert {
    condition     = output.launcher.service_account != null && output.launcher.idle_shutdown.keep_warm_s == 900
    error_message = "There must be a worker account, and the idle shutdown's times."
  }
}
