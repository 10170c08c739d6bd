# What is known of accelerators: shapes, zones and prices. catalog.json is made from the launcher's own tables.

locals {
  catalog      = jsondecode(file("${path.module}/../../catalog.json"))
  accelerators = local.catalog.accelerators
  generations  = local.catalog.generations

  # accelerator -> zones; some zones have the smallest size of a generation only
  zones_with = {
    for name, accelerator in local.accelerators : name => sort(concat(
      local.generations[accelerator.generation].zones,
      name == local.generations[accelerator.generation].smallest ? local.generations[accelerator.generation].smallest_zones : [],
    ))
  }
  # accelerator -> region -> USD per hour of one node
  usd_per_hour = {
    for name, accelerator in local.accelerators : name => {
      for region, usd in try(local.catalog.usd_per_chip_hour[accelerator.price], {}) : region => {
        for kind, each in usd : kind => floor(each * accelerator.chips * 100 + 0.5) / 100
      }
    }
  }

  # What a wrong name may have meant: "TPU_v5e-6" is read as the word v5e, which is the generation v5e, and the number 6.
  wrong_names = distinct([for asked in local.asked : asked.accelerator if !contains(keys(local.accelerators), asked.accelerator)])
  plain_names = { for name in local.wrong_names : name => replace(lower(trimspace(name)), "_", "-") }
  read_names = {
    for name, plain in local.plain_names : name => try({
      word   = regex("^(?:tpu-?)?(.+?)(?:-([0-9]{1,9}))?$", plain)[0]
      number = tonumber(coalesce(regex("^(?:tpu-?)?(.+?)(?:-([0-9]{1,9}))?$", plain)[1], "1"))
    }, { word = "", number = 1 })
  }
  meant_generation = {
    for name, read in local.read_names : name => one([for generation, about in local.generations : generation if contains(about.words, read.word)])
  }
  same_generation = {
    for name, generation in local.meant_generation : name => [
      for other, accelerator in local.accelerators : { name = other, number = tonumber(reverse(split("-", other))[0]) } if accelerator.generation == generation
    ]
  }
  below = { for name, others in local.same_generation : name => max(0, [for other in others : other.number if other.number <= local.read_names[name].number]...) }
  above = { for name, others in local.same_generation : name => min(999999, [for other in others : other.number if other.number >= local.read_names[name].number]...) }
  nearest = {
    for name, others in local.same_generation : name => [for other in others : "\"${other.name}\"" if other.number == local.below[name] || other.number == local.above[name]]
  }
  accelerator_fix = {
    for name in local.wrong_names : name => (
      can(regex("^(tpu-?)?(v?7x?|ironwood)(-|$)", local.plain_names[name])) ? "TPU7x (Ironwood) is not in the Cloud TPU API, which the launcher uses. Take \"v6e-8\", or a node pool of gke." :
      local.below[name] == local.above[name] ? "Write it as the Cloud TPU API does: ${local.nearest[name][0]}." :
      local.meant_generation[name] != null ? "No ${local.meant_generation[name]} slice has this size. The nearest: ${join(" or ", local.nearest[name])}." :
      "Known are ${join(", ", [for about in local.generations : "${about.prefix}-N"])}; `launcher accelerators` lists them all."
    )
  }
}
