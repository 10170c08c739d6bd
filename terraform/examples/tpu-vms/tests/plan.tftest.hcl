variables {
  project_id = "demo-project"
}

run "nodes" {
  command = plan

  assert {
    condition     = [for node in output.launcher.nodes : node.node] == ["tpu-desk", "tpu-rare-0"]
    error_message = "Both standing nodes must be registered."
  }
  assert {
    condition     = [for node in output.launcher.nodes : coalesce(node.queued_resource, "none")] == ["none", "tpu-rare"]
    error_message = "Only the queued node belongs to a queued resource."
  }
  assert {
    condition     = alltrue([for node in output.launcher.nodes : node.keep_warm_s == 1800 && node.max_lifetime_s == 86400])
    error_message = "A standing node must have its own time to stay idle, and the platform's lifetime."
  }
  assert {
    condition     = output.launcher.pools.dev.spot && output.launcher.pools.dev.max_nodes == 2
    error_message = "The pool must be of two spot nodes."
  }
}
