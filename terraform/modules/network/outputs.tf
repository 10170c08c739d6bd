output "network" {
  description = "The VPC: its id and its name."
  value = {
    id   = google_compute_network.this.id
    name = google_compute_network.this.name
  }
}

output "subnetwork_name" {
  description = "Name of the subnet, the same in every region."
  value       = var.name
}

output "subnetworks" {
  description = "Region to the id of its subnet."
  value       = { for region, subnet in google_compute_subnetwork.this : region => subnet.id }
}
