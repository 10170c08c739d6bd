variable "control_readers" {
  description = "Who reads the control bucket: any fixed key to an IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.control_readers) : !can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member))])
    error_message = "control_readers: ${join(", ", [for key, member in var.control_readers : key if try(can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member)), false)])} is no one account or group. Write the member as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "control_records" {
  description = <<-EOT
    Who writes one object of the control bucket, and nothing else there, by any fixed key.
    - member: the account, which control_readers names too.
    - object: the object's name.
  EOT
  type        = map(object({ member = string, object = string }))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for record in values(var.control_records) : can(regex("^serviceAccount:[^@:[:space:]]+@[^@:[:space:]]+$", record.member)) && can(regex("^[a-z]+[.]json$", record.object))])
    error_message = "control_records: ${join(", ", [for key, record in var.control_records : key if try(!can(regex("^serviceAccount:[^@:[:space:]]+@[^@:[:space:]]+$", record.member)) || !can(regex("^[a-z]+[.]json$", record.object)), false)])} is no function's account with one record. Write the member as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com and the object as freeze.json."
  }
}

variable "control_writers" {
  description = "Who writes all of the control bucket: any fixed key to an IAM member. Operators, never a worker or a launcher user."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.control_writers) : !can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member))])
    error_message = "control_writers: ${join(", ", [for key, member in var.control_writers : key if try(can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member)), false)])} is no one account or group. Write the member as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "force_destroy" {
  description = "Whether a destroy deletes the jobs bucket with what is in it; false refuses while it is not empty."
  type        = bool
  default     = false
  nullable    = false
}

variable "job_days" {
  description = "Days after which what a job wrote or sent is deleted."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.job_days >= 1 && floor(var.job_days) == var.job_days
    error_message = "job_days is ${var.job_days}. Give a whole number of days, 1 or more."
  }
}

variable "jobs_users" {
  description = "Who reads and writes the jobs bucket: any fixed key to an IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.jobs_users) : !can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member))])
    error_message = "jobs_users: ${join(", ", [for key, member in var.jobs_users : key if try(can(regex("^(all(Authenticated)?Users|domain:.*|[^:]+@.*)$", member)), false)])} is no one account or group. Write the member as user:ada@example.com, group:ml@example.com or serviceAccount:ci@project.iam.gserviceaccount.com."
  }
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts both buckets, projects/…/locations/…/keyRings/…/cryptoKeys/…; null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null ? true : can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is \"${coalesce(var.kms_key, "null")}\". Write it as projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }
  validation {
    condition     = var.kms_key == null ? true : lower(try(split("/", var.kms_key)[3], "")) == lower(var.location)
    error_message = "kms_key lies in ${try(split("/", var.kms_key)[3], "no location")}, the buckets in ${var.location}: Cloud Storage takes a key of the bucket's own location only. Use a key from there, or move the buckets."
  }
}

variable "labels" {
  description = "Labels of both buckets."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "location" {
  description = "Region or multi-region of both buckets."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(us|eu|asia|(nam|eur|asia)[0-9]+|[a-z]+(-[a-z]+)+[0-9]+)$", lower(var.location)))
    error_message = "location is \"${var.location}\", where no bucket can be. Write a region such as us-central1, or a multi-region such as US."
  }
}

variable "name" {
  description = "Name of the platform: part of the buckets' names, PROJECT-NAME-control and PROJECT-NAME-jobs."
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
