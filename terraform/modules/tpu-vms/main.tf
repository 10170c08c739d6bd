locals {
  # Each VM's subnet: that of its zone's region.
  subnets = { for key, vm in var.vms : key => var.subnetworks[regex("^(.+)-[^-]+$", vm.zone)[0]] }
}

resource "google_tpu_v2_vm" "this" {
  provider = google-beta
  for_each = { for key, vm in var.vms : key => vm if vm.queued_resource == null }

  project          = var.project_id
  zone             = each.value.zone
  name             = each.value.node
  accelerator_type = each.value.accelerator
  runtime_version  = each.value.runtime_version
  labels           = merge(var.labels, { launcher-platform = var.name })
  # Through guest attributes each host tells its SSH host keys, which the launcher checks on connecting.
  metadata = { enable-guest-attributes = "TRUE" }

  network_config {
    enable_external_ips = var.external_ip
    network             = var.network
    subnetwork          = local.subnets[each.key]
  }

  # The API answers {} for what is not spot, which the provider reads as no block at all: one that says spot = false would
  # have the node replaced by every apply.
  dynamic "scheduling_config" {
    for_each = each.value.spot ? [true] : []
    content {
      spot = true
    }
  }

  service_account {
    email = each.value.service_account
    scope = ["https://www.googleapis.com/auth/cloud-platform"] # what it may do is for IAM to say
  }

  lifecycle {
    # The launcher puts its users' keys there. Taking them out again would lock out whoever is connected next.
    ignore_changes = [metadata["ssh-keys"]]
  }
}

# It has no labels, spot, metadata or service account: its hosts run as the project's default Compute Engine account.
# A destroy while it is ACTIVE fails, as the provider deletes without force. ABANDON would make that pass and leave a node
# behind that costs money and that nobody knows any more, so it stays DELETE.
resource "google_tpu_v2_queued_resource" "this" {
  provider = google-beta
  for_each = { for key, vm in var.vms : key => vm if vm.queued_resource != null }

  project = var.project_id
  zone    = each.value.zone
  name    = each.value.queued_resource

  tpu {
    node_spec {
      parent  = "projects/${var.project_id}/locations/${each.value.zone}"
      node_id = each.value.node
      node {
        accelerator_type = each.value.accelerator
        description      = "Standing node ${each.key} of platform ${var.name}."
        runtime_version  = each.value.runtime_version
        network_config {
          enable_external_ips = var.external_ip
          network             = var.network
          subnetwork          = local.subnets[each.key]
        }
      }
    }
  }
}
