output "asked" {
  description = "What was asked for, once nothing is wrong with it: pools and vms with what they did not say filled in, the vms' names in Google Cloud, and zones, which are all of them."
  value = {
    pools = {
      for key, pool in var.tpu_pools : key => merge(pool, {
        keep_warm_s    = coalesce(pool.keep_warm_s, var.times.keep_warm_s)
        max_lifetime_s = coalesce(pool.max_lifetime_s, var.times.max_lifetime_s)
      })
    }
    vms = {
      for key, vm in var.tpu_vms : key => merge(vm, {
        keep_warm_s     = coalesce(vm.keep_warm_s, var.times.keep_warm_s)
        max_lifetime_s  = coalesce(vm.max_lifetime_s, var.times.max_lifetime_s)
        node            = vm.queued ? "${var.name}-${key}-0" : "${var.name}-${key}"
        queued_resource = vm.queued ? "${var.name}-${key}" : null
        runtime_version = try(coalesce(vm.runtime_version, local.generations[local.accelerators[vm.accelerator].generation].runtime_version), null)
      })
    }
    zones = distinct(concat(var.zones, flatten([for pool in var.tpu_pools : pool.zones]), [for vm in var.tpu_vms : vm.zone]))
  }

  precondition {
    condition     = length(local.mistakes) == 0
    error_message = "The platform cannot be made as it is asked for:\n- ${join("\n- ", local.mistakes)}"
  }
}
