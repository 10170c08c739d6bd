output "cluster" {
  description = <<-EOT
    The cluster.
    - dns_endpoint: host name of its control plane, for whoever IAM lets in.
    - location: its zone or region.
    - name: its name.
    - node_pools: TPU pool to its hosts per slice and the nodeSelector of Pods that want to go there.
  EOT
  value = {
    dns_endpoint = google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].endpoint
    location     = var.location
    name         = google_container_cluster.this.name
    node_pools = {
      for key, pool in google_container_node_pool.tpu : key => {
        hosts = local.hosts[key]
        node_selector = merge(
          {
            "cloud.google.com/gke-nodepool"        = pool.name
            "cloud.google.com/gke-tpu-accelerator" = local.pools[key].machine.accelerator
          },
          local.slice_topology[key] == null ? {} : { "cloud.google.com/gke-tpu-topology" = local.slice_topology[key] },
        )
      }
    }
  }
}
