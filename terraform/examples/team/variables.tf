variable "billing_account" {
  description = "Billing account for the budget, as 012345-6789AB-CDEF01; null where you have no right to make one."
  type        = string
  default     = null
}

variable "domain" {
  description = "Domain of the groups' addresses."
  type        = string
  nullable    = false
  default     = "example.com"
}

variable "project_id" {
  description = "Project that is to hold the platform."
  type        = string
  nullable    = false
}
