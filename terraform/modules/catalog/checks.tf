# What is wrong with what was asked for. Each rule is a list of sentences that name the culprit, its place and the fix;
# the precondition of the output refuses a plan with any of them, and says them all. (The validation of a variable could
# not: it may not refer to a local that is made from this variable.)

locals {
  zone_pattern = "^([a-z]+(?:-[a-z]+)+[0-9]+)-[a-z][a-z0-9]*$"
  key_pattern  = "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$" # with the platform's name and a number it stays below 63 characters

  # Pools and VMs together: a VM is a pool of one zone with neither price limit nor reservation.
  asked = merge(
    { for key, pool in var.tpu_pools : "tpu_pools[\"${key}\"]" => {
      key              = key
      accelerator      = pool.accelerator
      keep_warm_s      = coalesce(pool.keep_warm_s, var.times.keep_warm_s)
      max_lifetime_s   = coalesce(pool.max_lifetime_s, var.times.max_lifetime_s)
      max_usd_per_hour = pool.max_usd_per_hour
      spot             = pool.spot
      zones            = pool.zones
    } },
    { for key, vm in var.tpu_vms : "tpu_vms[\"${key}\"]" => {
      key              = key
      accelerator      = vm.accelerator
      keep_warm_s      = coalesce(vm.keep_warm_s, var.times.keep_warm_s)
      max_lifetime_s   = coalesce(vm.max_lifetime_s, var.times.max_lifetime_s)
      max_usd_per_hour = null
      spot             = vm.spot
      zones            = [vm.zone]
    } },
  )
  # One entry for each zone that is one; `usd` is the list price of one node there, null where it is unknown.
  asked_zones = flatten([
    for place, asked in local.asked : [
      for zone in distinct(asked.zones) : merge(asked, {
        place  = place
        zone   = zone
        region = regex(local.zone_pattern, zone)[0]
        usd    = try(local.usd_per_hour[asked.accelerator][regex(local.zone_pattern, zone)[0]][asked.spot ? "spot" : "on_demand"], null)
      }) if can(regex(local.zone_pattern, zone))
    ]
  ])

  no_subnet = "where the platform has no subnet (it has one in ${join(", ", var.regions)}). Give network.cidrs a free range for that region, or take another zone."

  wrong_keys = [
    for place, asked in local.asked : "${place}: the key cannot become part of a node's id. Use at most 32 lower-case letters, digits and dashes, a letter first and no dash last."
    if !can(regex(local.key_pattern, asked.key))
  ]
  wrong_accelerators = [
    for place, asked in local.asked : "${place}: accelerator \"${asked.accelerator}\" is unknown. ${local.accelerator_fix[asked.accelerator]}"
    if !contains(keys(local.accelerators), asked.accelerator)
  ]
  no_zones = [
    for place, asked in local.asked : "${place}: zones is empty. Name at least one, in the order in which they are to be asked${try("; ${asked.accelerator} is in ${join(", ", local.zones_with[asked.accelerator])}", "")}."
    if length(asked.zones) == 0
  ]
  repeated_zones = [
    for place, asked in local.asked : "${place}: zones names one more than once: ${join(", ", asked.zones)}. Name each once, in the order in which they are to be asked."
    if length(distinct(asked.zones)) < length(asked.zones)
  ]
  malformed_zones = flatten([
    for place, asked in local.asked : [
      for zone in distinct(asked.zones) : "${place}: \"${zone}\" is no zone. Write it as us-central1-a: a region, a dash and a letter."
      if !can(regex(local.zone_pattern, zone))
    ]
  ])
  zones_without = [
    for asked in local.asked_zones : "${asked.place}: zone ${asked.zone} has no ${asked.accelerator}. It is in ${join(", ", local.zones_with[asked.accelerator])}."
    if try(!contains(local.zones_with[asked.accelerator], asked.zone), false)
  ]
  zones_without_subnet = [
    for asked in local.asked_zones : "${asked.place}: zone ${asked.zone} lies in ${asked.region}, ${local.no_subnet}"
    if !contains(var.regions, asked.region)
  ]
  wrong_times = flatten([
    for place, asked in local.asked : [
      for name, least in { keep_warm_s = 0, max_lifetime_s = 1 } : "${place}: ${name} is ${asked[name]}. Give whole seconds, ${least} or more."
      if asked[name] < least || floor(asked[name]) != asked[name]
    ]
  ])
  warm_too_long = [
    for place, asked in local.asked : "${place}: keep_warm_s is ${asked.keep_warm_s}, longer than max_lifetime_s, ${asked.max_lifetime_s}: no node could be kept warm so long. Lower the one or raise the other (what is not set here is idle_shutdown's)."
    if asked.keep_warm_s > asked.max_lifetime_s
  ]
  too_dear = [
    for asked in local.asked_zones : "${asked.place}: max_usd_per_hour is ${asked.max_usd_per_hour}, but in ${asked.zone} one ${asked.accelerator}${asked.spot ? " (spot)" : ""} costs ${asked.usd} USD per hour (list price of ${local.catalog.as_of}), so none would start there. Raise the limit to that, or take the zone out."
    if asked.max_usd_per_hour == null || asked.usd == null ? false : asked.max_usd_per_hour < asked.usd
  ]
  # Where the price is unknown, the launcher creates nothing that has a limit.
  unknown_price = [
    for asked in local.asked_zones : "${asked.place}: max_usd_per_hour is ${asked.max_usd_per_hour}, but what one ${asked.accelerator}${asked.spot ? " (spot)" : ""} costs in ${asked.zone} is unknown, so none would start there. Leave the limit out, or take the zone out."
    if asked.max_usd_per_hour == null || asked.usd != null ? false : try(contains(local.zones_with[asked.accelerator], asked.zone), false)
  ]

  spot_and_reserved = [
    for key, pool in var.tpu_pools : "tpu_pools[\"${key}\"]: spot is true and reservation is \"${coalesce(pool.reservation, "")}\", but reserved nodes are never spot. Remove one of them."
    if pool.spot && pool.reservation != null
  ]
  reserved_zones = [
    for key, pool in var.tpu_pools : "tpu_pools[\"${key}\"]: reservation \"${coalesce(pool.reservation, "")}\" lies in one zone, but zones names ${join(", ", pool.zones)}. Keep the reservation's zone, and make a pool for each other one."
    if pool.reservation != null && length(pool.zones) > 1
  ]
  wrong_max_nodes = [
    for key, pool in var.tpu_pools : "tpu_pools[\"${key}\"]: max_nodes is ${pool.max_nodes}. Give a whole number, 1 or more; leave out a pool that is to have none."
    if pool.max_nodes < 1 || floor(pool.max_nodes) != pool.max_nodes
  ]

  queued_spot = [
    for key, vm in var.tpu_vms : "tpu_vms[\"${key}\"]: queued and spot are both true, but the provider's queued resource cannot say spot. Set queued = false, or make it a pool, whose nodes the launcher queues itself."
    if vm.queued && vm.spot
  ]
  same_node = [
    for key, vm in var.tpu_vms : "tpu_vms[\"${key}\"]: its node ${var.name}-${key} would have the name of the node of the queued tpu_vms[\"${trimsuffix(key, "-0")}\"]. Rename one of them."
    if !vm.queued && endswith(key, "-0") && try(var.tpu_vms[trimsuffix(key, "-0")].queued, false)
  ]
  wrong_team = [
    for key, vm in var.tpu_vms : "tpu_vms[\"${key}\"]: team is ${vm.team == null ? "not set" : "\"${vm.team}\""}, but ${vm.queued ? "a queued node runs as the project's default Compute Engine account. Leave team out" : length(var.teams) == 0 ? "the platform has no teams. Leave it out, or add it to teams" : "its hosts need a team's worker account. Give one of ${join(", ", var.teams)}"}."
    if vm.queued || length(var.teams) == 0 ? vm.team != null : !contains(var.teams, coalesce(vm.team, "-"))
  ]

  wrong_zones = concat(
    length(distinct(var.zones)) == length(var.zones) ? [] : ["zones names one more than once: ${join(", ", var.zones)}. Name each once."],
    [for zone in distinct(var.zones) : "zones: \"${zone}\" is no zone. Write it as us-central1-a: a region, a dash and a letter." if !can(regex(local.zone_pattern, zone))],
    [for zone in distinct(var.zones) : "zones: ${zone} lies in ${regex(local.zone_pattern, zone)[0]}, ${local.no_subnet}" if try(!contains(var.regions, regex(local.zone_pattern, zone)[0]), false)],
  )

  mistakes = concat(
    local.wrong_zones, local.wrong_keys, local.wrong_accelerators, local.no_zones, local.repeated_zones, local.malformed_zones,
    local.zones_without, local.zones_without_subnet, local.wrong_times, local.warm_too_long, local.too_dear, local.unknown_price,
    local.spot_and_reserved, local.reserved_zones, local.wrong_max_nodes, local.queued_spot, local.same_node, local.wrong_team,
  )
}
