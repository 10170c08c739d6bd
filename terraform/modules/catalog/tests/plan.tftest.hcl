variables {
  name    = "tpu"
  regions = ["us-central1", "us-west4"]
  times   = { keep_warm_s = 900, max_lifetime_s = 86400 }
}

run "fills_in" {
  command = plan

  variables {
    tpu_pools = {
      dev  = { accelerator = "v5litepod-8", keep_warm_s = 0, zones = ["us-west4-a", "us-central1-a"] }
      long = { accelerator = "v2-8", max_lifetime_s = 864000, max_nodes = 4, zones = ["us-central1-b"] }
    }
    tpu_vms = {
      desk = { accelerator = "v6e-1", zone = "us-central1-b" }
      rare = { accelerator = "v5p-8", keep_warm_s = 60, queued = true, runtime_version = "v2-alpha-tpuv5", zone = "us-central1-a" }
    }
    zones = ["us-central1-c"]
  }

  assert {
    condition     = jsonencode(output.asked.zones) == jsonencode(["us-central1-c", "us-west4-a", "us-central1-a", "us-central1-b"])
    error_message = "The zones must be those of zones, pools and VMs, each once, in this order."
  }
  assert {
    condition = jsonencode(output.asked.pools.dev) == jsonencode({
      accelerator     = "v5litepod-8", keep_warm_s = 0, max_lifetime_s = 86400, max_nodes = 1, max_usd_per_hour = null, reservation = null,
      runtime_version = null, shared = false, spot = false, zones = ["us-west4-a", "us-central1-a"],
    })
    error_message = "A pool must have one node, on demand, of its owner's own, and the platform's times but for its own."
  }
  assert {
    condition     = output.asked.pools.long.keep_warm_s == 900 && output.asked.pools.long.max_lifetime_s == 864000 && output.asked.pools.long.max_nodes == 4
    error_message = "What a pool says itself must win over the platform's times."
  }
  assert {
    condition     = output.asked.vms.desk.runtime_version == "v2-alpha-tpuv6e" && output.asked.vms.desk.keep_warm_s == 900 && output.asked.vms.rare.keep_warm_s == 60
    error_message = "A VM must get the right runtime version and the platform's times but for its own."
  }
}

run "names" {
  command = plan

  variables {
    tpu_vms = {
      desk = { accelerator = "v6e-1", zone = "us-central1-b" }
      rare = { accelerator = "v6e-1", queued = true, zone = "us-central1-b" }
    }
  }

  assert {
    condition     = output.asked.vms.desk.node == "tpu-desk" && output.asked.vms.desk.queued_resource == null
    error_message = "A VM must be called after the platform."
  }
  assert {
    condition     = output.asked.vms.rare.node == "tpu-rare-0" && output.asked.vms.rare.queued_resource == "tpu-rare"
    error_message = "A queued resource's node must be called after it."
  }
}

# What is at a limit, or has no known price and no limit, passes.
run "takes" {
  command = plan

  variables {
    teams = ["vision"]
    tpu_pools = {
      a-pool-with-a-name-of-just-32-ch = { accelerator = "v5litepod-8", keep_warm_s = 86400, max_usd_per_hour = 9.6, zones = ["us-central1-a"] }
      cheap                            = { accelerator = "v5litepod-8", max_usd_per_hour = 1.96, spot = true, zones = ["us-central1-a"] }
      reserved                         = { accelerator = "v5litepod-8", reservation = "r1", zones = ["us-central1-a"] }
      unpriced                         = { accelerator = "v2-8", zones = ["us-central1-c"] }
    }
    tpu_vms = {
      desk   = { accelerator = "v5litepod-1", spot = true, team = "vision", zone = "us-central1-a" }
      queued = { accelerator = "v5litepod-1", queued = true, zone = "us-central1-a" }
    }
  }

  assert {
    condition     = length(output.asked.pools) == 4 && length(output.asked.vms) == 2
    error_message = "All of these must be taken."
  }
}

# Each of these is one mistake; tests/terraform/test_catalog.py reads what is said about it.

run "refuses_malformed_zone" {
  command = plan

  variables {
    zones = ["us-central1"]
  }

  expect_failures = [output.asked]
}

run "refuses_repeated_zone" {
  command = plan

  variables {
    zones = ["us-central1-b", "us-central1-b"]
  }

  expect_failures = [output.asked]
}

run "refuses_zone_without_subnet" {
  command = plan

  variables {
    zones = ["europe-west4-a"]
  }

  expect_failures = [output.asked]
}

run "refuses_pool_key" {
  command = plan

  variables {
    tpu_pools = { Dev_1 = { accelerator = "v5litepod-8", zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_accelerator_unknown" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "h100-8", zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_accelerator_size" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-6", zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_accelerator_alias" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5e-8", zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_accelerator_ironwood" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "tpu7x-8", zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_no_zones" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", zones = [] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_repeated_zone" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", zones = ["us-central1-a", "us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_malformed_zone" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", zones = ["us-central1a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_zone_without_accelerator" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", zones = ["us-central1-b"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_zone_with_the_smallest_only" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v2-32", zones = ["us-central1-b"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_zone_without_subnet" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", zones = ["europe-west4-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_spot_and_reservation" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", reservation = "r1", spot = true, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_reservation_in_two_zones" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", reservation = "r1", zones = ["us-central1-a", "us-west4-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_warm_longer_than_its_life" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", keep_warm_s = 7200, max_lifetime_s = 3600, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_warm_longer_than_the_platforms_life" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", keep_warm_s = 86401, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_negative_time" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", keep_warm_s = -1, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_broken_time" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_lifetime_s = 3600.5, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_no_nodes" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_nodes = 0, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_half_a_node" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_nodes = 1.5, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_below_the_list_price" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_usd_per_hour = 9.59, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_below_the_spot_price" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_usd_per_hour = 1.95, spot = true, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_price_of_nothing" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v5litepod-8", max_usd_per_hour = 0, zones = ["us-central1-a"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_pool_limit_where_the_price_is_unknown" {
  command = plan

  variables {
    tpu_pools = { dev = { accelerator = "v2-8", max_usd_per_hour = 100, zones = ["us-central1-c"] } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_key" {
  command = plan

  variables {
    tpu_vms = { "1st" = { accelerator = "v5litepod-1", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_accelerator_unknown" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v9-8", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_malformed_zone" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v5litepod-1", zone = "US-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_zone_without_accelerator" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v4-8", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_zone_without_subnet" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v5litepod-8", zone = "europe-west4-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_warm_longer_than_its_life" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v5litepod-1", keep_warm_s = 7200, max_lifetime_s = 3600, zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_queued_and_spot" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v5litepod-1", queued = true, spot = true, zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_same_node" {
  command = plan

  variables {
    tpu_vms = {
      desk   = { accelerator = "v5litepod-1", queued = true, zone = "us-central1-a" }
      desk-0 = { accelerator = "v5litepod-1", zone = "us-central1-a" }
    }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_team_without_teams" {
  command = plan

  variables {
    tpu_vms = { desk = { accelerator = "v5litepod-1", team = "vision", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_without_team" {
  command = plan

  variables {
    teams   = ["vision"]
    tpu_vms = { desk = { accelerator = "v5litepod-1", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}

run "refuses_vm_queued_with_team" {
  command = plan

  variables {
    teams   = ["vision"]
    tpu_vms = { desk = { accelerator = "v5litepod-1", queued = true, team = "vision", zone = "us-central1-a" } }
  }

  expect_failures = [output.asked]
}
