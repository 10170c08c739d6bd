variable "accounts" {
  description = <<-EOT
    Service accounts, as module identity makes them:
    - budget_guard: what the function runs as.
    - build: builds the function's image.
    - push: who calls it, and the only one who may.
  EOT
  type = object({
    budget_guard = object({ email = string, member = string, name = string })
    build        = object({ email = string, member = string, name = string })
    push         = object({ email = string, member = string, name = string })
  })
  nullable = false
}

variable "archive" {
  description = "The functions' archive, as module idle-shutdown uploads it (its output `source`)."
  type        = object({ bucket = string, generation = number, object = string })
  nullable    = false
}

variable "budget" {
  description = <<-EOT
    What may be spent in a calendar month:
    - amount: whole units of the currency.
    - billing_account: its id, like 012345-6789AB-CDEF01.
    - currency: ISO code; the billing account's own.
    - drain_busy: also end running jobs, once two notifications at least ten minutes apart agree.
    - thresholds: shares of the amount at which a mail is sent; 1.0 is all of it.
  EOT
  type = object({
    amount          = number
    billing_account = string
    currency        = optional(string, "USD")
    drain_busy      = optional(bool, false)
    thresholds      = optional(list(number), [0.5, 0.9, 1.0])
  })
  nullable = false

  validation {
    condition     = var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount
    error_message = "budget.amount must be a whole number of the currency, at least 1, as the budget's limit has no cents."
  }
  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget.billing_account must be the account's id, like \"012345-6789AB-CDEF01\". `gcloud billing accounts list` shows yours."
  }
  validation {
    condition     = can(regex("^[A-Z]{3}$", var.budget.currency))
    error_message = "budget.currency must be an ISO code of three capital letters, like \"USD\", and the currency of the billing account."
  }
  validation {
    condition = length(var.budget.thresholds) > 0 && alltrue([
      for share in var.budget.thresholds : share > 0 && share <= 10
    ])
    error_message = "budget.thresholds must be shares of the amount, more than 0, 1.0 being all of it (not percent): for example [0.5, 0.9, 1.0]."
  }
}

variable "channels" {
  description = "Ids of the notification channels that the budget's mails go to, besides the billing account's own people."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.channels) <= 5
    error_message = "A budget can tell at most 5 notification channels. Give at most 5 e-mail addresses; a group's address reaches more people."
  }
}

variable "environment" {
  description = "Environment of the function, as module idle-shutdown makes it."
  type        = map(string)
  nullable    = false
}

variable "labels" {
  description = "Labels of function, topic and subscription."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "The platform's name: prefix of every id."
  type        = string
  nullable    = false
}

variable "project_id" {
  description = "Project of the platform."
  type        = string
  nullable    = false
}

variable "project_number" {
  description = "The project's number: a budget knows its project by it."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the function."
  type        = string
  nullable    = false
}
