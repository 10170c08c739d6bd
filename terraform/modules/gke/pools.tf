# What is known of the pools that were asked for. Nothing here fails on wrong input: the preconditions in main.tf tell.

locals {
  catalog  = jsondecode(file("${path.module}/../../catalog.json"))
  machines = jsondecode(file("${path.module}/machines.json")).machines

  zone_pattern = "^([a-z]+(?:-[a-z]+)+[0-9]+)-[a-z][a-z0-9]*$"
  is_zone      = can(regex(local.zone_pattern, var.location))
  region       = local.is_zone ? regex(local.zone_pattern, var.location)[0] : var.location

  # Generation to its topologies, each with its chips.
  topologies = {
    for generation in distinct([for machine in local.machines : machine.generation]) : generation => {
      for topology, chips in { for each in local.catalog.accelerators : each.topology => each.chips... if each.generation == generation } : topology => chips[0]
    }
  }

  shapes = {
    for key, pool in var.node_pools : key => {
      machine = lookup(local.machines, pool.machine_type, null)
      dims    = can(regex("^[0-9]{1,4}(x[0-9]{1,4}){1,2}$", pool.topology)) ? [for dim in split("x", pool.topology) : tonumber(dim)] : []
    }
  }
  pools = {
    for key, pool in var.node_pools : key => {
      # Without a topology one host is the slice. Unknown ones count as one host too, so that one mistake is one message.
      chips      = length(local.shapes[key].dims) > 0 ? local.shapes[key].dims[0] * local.shapes[key].dims[1] * try(local.shapes[key].dims[2], 1) : try(local.shapes[key].machine.chips, 1)
      dims       = local.shapes[key].dims
      generation = try(local.shapes[key].machine.generation, "")
      machine    = local.shapes[key].machine
    }
  }
  hosts = {
    for key, pool in local.pools : key => try(max(1, ceil(pool.chips / pool.machine.chips)), 1)
  }

  # GKE wants it in a Pod's nodeSelector also where one host is the slice; a host that is less than any slice has none.
  slice_topology = {
    for key, pool in local.pools : key => try(coalesce(
      var.node_pools[key].topology,
      [for topology, chips in local.topologies[pool.generation] : topology if chips == pool.machine.chips][0],
    ), null)
  }

  # Beyond those of the catalog, every box of 4x4x4 cubes is a slice of v4 and v5p, as far as a pod has cubes.
  known_topology = {
    for key, pool in local.pools : key => (
      pool.machine == null || var.node_pools[key].topology == null ||
      try(contains(keys(local.topologies[pool.generation]), var.node_pools[key].topology), false) ||
      (
        length(pool.dims) == 3 && contains(["v4", "v5p"], pool.generation) &&
        alltrue([for dim in pool.dims : dim > 0 && dim % 4 == 0]) &&
        try(pool.dims[0] <= pool.dims[1] && pool.dims[1] <= pool.dims[2] && pool.chips <= max(values(local.topologies[pool.generation])...), false)
      )
    )
  }

  # ---- what was probably meant ----
  generation_of_word = merge([for generation, about in local.catalog.generations : { for word in about.words : word => generation }]...)
  nearest_machines = {
    for key, pool in var.node_pools : key => coalescelist(
      [for name, machine in local.machines : name if startswith(name, "${split("-", lower(pool.machine_type))[0]}-")],
      [for name, machine in local.machines : name if machine.generation == lookup(local.generation_of_word, split("-", lower(pool.machine_type))[0], "")],
      [for name, machine in local.machines : name if length(pool.machine_type) >= 3 && startswith(name, substr(lower(pool.machine_type), 0, 3))],
      keys(local.machines),
    )
  }
  # Those of as many chips, else the next smaller and the next larger one.
  nearest_topologies = {
    for key, pool in local.pools : key => try(coalescelist(
      [for topology, chips in local.topologies[pool.generation] : topology if chips == pool.chips && length(pool.dims) > 0],
      concat(
        slice(reverse(sort([for topology, chips in local.topologies[pool.generation] : format("%09d %s", chips, topology) if chips < pool.chips])), 0, anytrue([for chips in local.topologies[pool.generation] : chips < pool.chips]) ? 1 : 0),
        slice(sort([for topology, chips in local.topologies[pool.generation] : format("%09d %s", chips, topology) if chips >= pool.chips]), 0, anytrue([for chips in local.topologies[pool.generation] : chips >= pool.chips]) ? 1 : 0),
      ),
    ), [])
  }
  # Machine types of the generation that can make the slice: alone, or several of them.
  fitting_machines = {
    for key, pool in local.pools : key => [
      for name, machine in local.machines : name
      if machine.generation == pool.generation && (machine.chips == pool.chips || (machine.multi_host && pool.chips % machine.chips == 0))
    ]
  }
  zones_with = {
    for key, pool in local.pools : key => try(sort(concat(
      local.catalog.generations[pool.generation].zones,
      local.hosts[key] == 1 ? local.catalog.generations[pool.generation].smallest_zones : [],
    )), [])
  }
}
