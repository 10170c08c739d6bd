output "ids" {
  description = "Name to the id of the node, or of the queued resource where it is a queued one."
  value = merge(
    { for key, vm in google_tpu_v2_vm.this : key => vm.id },
    { for key, queued in google_tpu_v2_queued_resource.this : key => queued.id },
  )
}
