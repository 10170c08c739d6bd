# The functions' source: what launcher/functions/sources.json lists, zipped by Terraform itself, so that no command has
# to come first. Contents are given, not a folder: the zip then has no times and modes, and is the same everywhere.
locals {
  # A checkout has the package beside terraform/, an installed wheel has terraform/ in the package.
  package  = fileexists("${local.checkout}/functions/sources.json") ? local.checkout : "${path.module}/../../.."
  checkout = "${path.module}/../../../launcher"

  modules = toset(flatten([
    for pattern in jsondecode(file("${local.package}/functions/sources.json")) : tolist(fileset(local.package, pattern))
  ]))
  # Cloud Functions wants these two at the root.
  files = merge(
    { for name in ["main.py", "requirements.txt"] : name => "functions/${name}" },
    { for name in local.modules : "launcher/${name}" => name },
  )
}

data "archive_file" "this" {
  type             = "zip"
  output_file_mode = "0644"
  # Below the root module, which is writable where an installed package may not be.
  output_path = "${path.root}/.build/${var.name}-functions.zip"

  dynamic "source" {
    for_each = local.files
    content {
      content  = file("${local.package}/${source.value}")
      filename = source.key
    }
  }
}

resource "google_storage_bucket_object" "archive" {
  bucket = var.control_bucket
  # Named by its content: another archive is another object, and so a new revision of the functions.
  name   = "functions/${data.archive_file.this.output_sha256}.zip"
  source = data.archive_file.this.output_path

  lifecycle {
    create_before_destroy = true # the functions point at the old one until they are updated
  }
}
