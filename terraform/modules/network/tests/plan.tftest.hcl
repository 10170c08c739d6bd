variables {
  cidrs = {
    europe-west4 = "10.0.16.0/20"
    us-central1  = "10.0.0.0/20"
  }
  name       = "tpu"
  project_id = "demo-project"
}

run "default" {
  command = plan

  assert {
    condition     = google_compute_network.this.auto_create_subnetworks == false
    error_message = "Only the regions that were asked for may have subnets."
  }
  assert {
    condition = alltrue([
      for region, range in var.cidrs : google_compute_subnetwork.this[region].ip_cidr_range == range && google_compute_subnetwork.this[region].region == region
    ]) && length(google_compute_subnetwork.this) == 2
    error_message = "Each region must have one subnet with its range."
  }
  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : subnet.name == output.subnetwork_name])
    error_message = "A subnet must be called the same in every region."
  }
  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : subnet.private_ip_google_access])
    error_message = "Google's APIs must be reachable without an external address."
  }
  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : length(subnet.log_config) == 0])
    error_message = "Flow logs cost money and must be off."
  }
  assert {
    condition     = length(google_compute_router.this) + length(google_compute_router_nat.this) == 0
    error_message = "A network with external addresses must not pay for NAT."
  }
}

run "ingress" {
  command = plan

  assert {
    condition     = google_compute_firewall.iap_ssh.source_ranges == toset(["35.235.240.0/20"])
    error_message = "SSH may come in from Identity-Aware Proxy alone."
  }
  assert {
    condition     = [for rule in google_compute_firewall.iap_ssh.allow : "${rule.protocol} ${join(",", rule.ports)}"] == ["tcp 22"]
    error_message = "Identity-Aware Proxy may reach port 22 alone."
  }
  assert {
    condition     = google_compute_firewall.internal.source_ranges == toset(values(var.cidrs))
    error_message = "What is allowed inside must come from the platform's own subnets alone."
  }
  assert {
    condition     = google_compute_firewall.iap_ssh.direction == "INGRESS" && google_compute_firewall.internal.direction == "INGRESS"
    error_message = "Both rules are about what comes in."
  }
}

run "private" {
  command = plan
  variables {
    private = true
  }

  assert {
    condition     = toset(keys(google_compute_router_nat.this)) == toset(keys(var.cidrs))
    error_message = "A private network must have NAT in every region."
  }
  assert {
    condition = alltrue([
      for region, nat in google_compute_router_nat.this :
      nat.region == region && nat.router == google_compute_router.this[region].name && nat.nat_ip_allocate_option == "AUTO_ONLY"
    ])
    error_message = "Each NAT must belong to its own region's router and bring its own addresses."
  }
}

run "private_without_nat" {
  command = plan
  variables {
    nat     = false
    private = true
  }

  assert {
    condition     = length(google_compute_router.this) + length(google_compute_router_nat.this) == 0
    error_message = "Without NAT nothing but Google's APIs may be reachable."
  }
}

run "gke" {
  command = plan
  variables {
    gke = {
      pods_cidr     = "10.4.0.0/14"
      region        = "us-central1"
      services_cidr = "10.8.0.0/20"
    }
  }

  assert {
    condition = {
      for range in google_compute_subnetwork.this["us-central1"].secondary_ip_range : range.range_name => range.ip_cidr_range
    } == { pods = "10.4.0.0/14", services = "10.8.0.0/20" }
    error_message = "The cluster's region must have the ranges of Pods and Services."
  }
  assert {
    condition     = contains(google_compute_firewall.internal.source_ranges, "10.4.0.0/14")
    error_message = "Pods belong to the inside."
  }
}

run "ranges_that_touch_do_not_overlap" {
  command = plan
  variables {
    cidrs = {
      europe-west4 = "10.0.16.0/28"
      us-central1  = "10.0.0.0/20"
      us-east5     = "10.0.16.16/28"
    }
  }

  assert {
    condition     = length(google_compute_subnetwork.this) == 3
    error_message = "Neighbouring ranges are fine."
  }
}

run "same_range_twice" {
  command = plan
  variables {
    cidrs = {
      europe-west4 = "10.0.0.0/20"
      us-central1  = "10.0.0.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "range_inside_another" {
  command = plan
  variables {
    cidrs = {
      europe-west4 = "10.0.15.0/24"
      us-central1  = "10.0.0.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "subnet_inside_the_pods" {
  command = plan
  variables {
    cidrs = {
      us-central1 = "10.7.0.0/20"
    }
    gke = {
      pods_cidr     = "10.4.0.0/14"
      region        = "us-central1"
      services_cidr = "10.8.0.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "services_inside_the_pods" {
  command = plan
  variables {
    gke = {
      pods_cidr     = "10.4.0.0/14"
      region        = "us-central1"
      services_cidr = "10.5.0.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "cluster_without_a_subnet" {
  command = plan
  variables {
    gke = {
      pods_cidr     = "10.4.0.0/14"
      region        = "us-east5"
      services_cidr = "10.8.0.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "address_for_a_range" {
  command = plan
  variables {
    cidrs = {
      us-central1 = "10.0.0.0"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "address_in_the_middle_of_a_range" {
  command = plan
  variables {
    cidrs = {
      us-central1 = "10.0.1.0/20"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "range_without_room" {
  command = plan
  variables {
    cidrs = {
      us-central1 = "10.0.0.0/30"
    }
  }
  expect_failures = [google_compute_network.this]
}

run "zone_for_a_region" {
  command = plan
  variables {
    cidrs = {
      us-central1-a = "10.0.0.0/20"
    }
  }
  expect_failures = [var.cidrs]
}

run "no_region" {
  command = plan
  variables {
    cidrs = {}
  }
  expect_failures = [var.cidrs]
}

run "long_name" {
  command = plan
  variables {
    name = "a-name-of-21-letters-"
  }
  expect_failures = [var.name]
}
