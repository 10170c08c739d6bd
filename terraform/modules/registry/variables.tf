variable "keep_images" {
  description = "Newest versions of each image that no clean-up deletes."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.keep_images >= 1 && floor(var.keep_images) == var.keep_images
    error_message = "keep_images is ${var.keep_images}. Give a whole number, 1 or more."
  }
}

variable "labels" {
  description = "Labels of both repositories."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "location" {
  description = "Region of both repositories."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+[0-9]+$", var.location))
    error_message = "location is \"${var.location}\", which is no region. Write it as us-central1, without a zone's letter."
  }
}

variable "name" {
  description = "Name of the platform: that of the Docker repository; the Python one is called NAME-python."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "name is \"${var.name}\". Use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last: every id of the platform begins with it."
  }
}

variable "project_id" {
  description = "Project that holds the platform."
  type        = string
  nullable    = false
}

variable "readers" {
  description = "Who pulls images and installs packages: any fixed key to an IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.readers) : !can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member))])
    error_message = "readers: ${join(", ", [for key, member in var.readers : key if try(can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member)), false)])} is no one account or group. Write the member as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "writers" {
  description = "Who pushes images: any fixed key to an IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.writers) : !can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member))])
    error_message = "writers: ${join(", ", [for key, member in var.writers : key if try(can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member)), false)])} is no one account or group. Write the member as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}
